package hub

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/hub/internal/js"
	"github.com/pithos-ipc/pithos/transport"
	"github.com/pithos-ipc/pithos/wire"
)

// Inspection is what a hub says about itself at one moment: who is there, what is published, what
// is under way. Its parts are there as far as they were asked for; see InspectOptions.
type Inspection struct {
	Hub     HubInfo      `json:"hub"`
	Stats   Stats        `json:"stats"`
	Peers   []PeerInfo   `json:"peers,omitempty"`
	Objects []ObjectInfo `json:"objects,omitempty"`
	Routes  []RouteInfo  `json:"routes,omitempty"`
	Methods []MethodInfo `json:"methods,omitempty"`
}

// InspectOptions say which parts of an Inspection are wanted besides Hub and Stats.
type InspectOptions struct {
	Peers   bool `json:"peers,omitempty"`
	Objects bool `json:"objects,omitempty"`
	Routes  bool `json:"routes,omitempty"`
	Methods bool `json:"methods,omitempty"`
	Buckets bool `json:"buckets,omitempty"` // the histogram of each method, too
	Limit   int  `json:"limit,omitempty"`   // of each list, 0: DefaultInspectLimit
}

// DefaultInspectLimit is how many entries of each list an Inspection has at most where nobody says.
const DefaultInspectLimit = 10_000

// HubInfo is what a hub is.
type HubInfo struct {
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Now       time.Time `json:"now"`
	Addresses []string  `json:"addresses"`
	Policy    string    `json:"policy,omitempty"`
	Taps      int       `json:"taps"`
	HeapBytes uint64    `json:"heap_bytes"`
}

// PeerInfo is a connection.
type PeerInfo struct {
	ID        uint64          `json:"id"`   // order of connecting
	Kind      string          `json:"kind"` // native, pandora, or silent: it has said nothing yet
	Name      string          `json:"name"` // short, of its location
	Location  json.RawMessage `json:"location,omitempty"`
	PID       int             `json:"pid,omitempty"` // by the kernel
	UID       int             `json:"uid"`
	Selectors int             `json:"selectors"`
	Inside    int             `json:"inside"`  // calls that it has to answer
	Asking    int             `json:"asking"`  // calls that it waits for
	Queued    int             `json:"queued"`  // calls, oneways and frames that wait for it
	Waiting   int64           `json:"waiting"` // bytes of them
	Delayed   uint64          `json:"delayed"` // calls and oneways that had to wait for it
	Refused   uint64          `json:"refused"` // calls thrown away, and answered
	Dropped   uint64          `json:"dropped"` // oneways thrown away
	FramesIn  uint64          `json:"frames_in"`
	FramesOut uint64          `json:"frames_out"`
	BytesIn   uint64          `json:"bytes_in"`
	BytesOut  uint64          `json:"bytes_out"`
}

// ObjectInfo is an object that somebody has published.
type ObjectInfo struct {
	Name  string   `json:"name"`
	Tag   string   `json:"tag,omitempty"`
	Peers []uint64 `json:"peers"` // who provides it, by PeerInfo.ID
	Calls uint64   `json:"calls"`
}

// RouteInfo is a selector that somebody has asked for.
type RouteInfo struct {
	Selector  json.RawMessage `json:"selector"`
	Providers int             `json:"providers"`
	Users     int             `json:"users"` // clients that have resolved it
	Calls     uint64          `json:"calls"`
}

// MethodInfo is a method of an object, as it was called since the hub began. Times run from when
// the call was read to when its reply was.
type MethodInfo struct {
	Object string  `json:"object"`
	Method string  `json:"method"`
	Calls  uint64  `json:"calls"`
	Failed uint64  `json:"failed"`
	Inside int64   `json:"inside"` // without a reply
	MeanUs float64 `json:"mean_us"`
	P50Us  float64 `json:"p50_us"`
	P99Us  float64 `json:"p99_us"`
	P999Us float64 `json:"p999_us"`
	MaxUs  float64 `json:"max_us"`

	Buckets []Bucket `json:"buckets,omitempty"`
}

// Inspect says what the hub knows about itself. A native client asks the same by Client.Inspect.
func (h *Hub) Inspect(o InspectOptions) *Inspection {
	in := h.core.inspect(o)
	for _, l := range *h.listeners.Load() {
		in.Hub.Addresses = append(in.Hub.Addresses, l.Address())
	}
	return in
}

// Inspect returns what the hub says about itself.
func (c *Client) Inspect(ctx context.Context, o InspectOptions) (*Inspection, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("hub: inspect: %w", err)
	}
	reply, err := c.ask(ctx, methodInspect, body)
	if err != nil {
		return nil, err
	}
	in := new(Inspection)
	if err := json.Unmarshal(reply, in); err != nil {
		return nil, fmt.Errorf("hub: answer to %s: %w", methodInspect, err)
	}
	return in, nil
}

// inspectJSON answers pithos.inspect, beside the loop: what is to be said may be megabytes. One is
// answered after the other.
func (h *Hub) inspectJSON(r *transport.Request, body []byte) error {
	var o InspectOptions
	if len(body) > 0 {
		if err := json.Unmarshal(body, &o); err != nil {
			return err
		}
	}
	if r.Oneway() {
		return errLater
	}
	if h.inspections.Add(1) > maxInspections {
		h.inspections.Add(-1)
		return &commandError{wire.CodeOverloaded,
			fmt.Sprintf("inspections at a time: %d, limit %d", maxInspections+1, maxInspections)}
	}
	held := r.Hold(nil, 0)
	h.ending.Go(func() {
		defer h.inspections.Add(-1)
		h.inspecting.Lock()
		defer h.inspecting.Unlock()
		out, err := h.Inspect(o).appendJSON(nil)
		if err != nil {
			_ = held.Fail(wire.CodeFailed, methodInspect+": "+err.Error())
			return
		}
		answerHeld(held, out)
	})
	return errLater
}

// maxInspections is how many peers may wait for what the hub says about itself.
const maxInspections = 64

// appendJSON appends in as json.Marshal would write it, entry by entry, so that others have their
// turn.
func (in *Inspection) appendJSON(dst []byte) ([]byte, error) {
	head, err := json.Marshal(Inspection{Hub: in.Hub, Stats: in.Stats})
	if err != nil {
		return nil, err
	}
	dst = append(dst, head[:len(head)-1]...)
	dst = appendList(dst, "peers", in.Peers, &err)
	dst = appendList(dst, "objects", in.Objects, &err)
	dst = appendList(dst, "routes", in.Routes, &err)
	dst = appendList(dst, "methods", in.Methods, &err)
	return append(dst, '}'), err
}

func appendList[T any](dst []byte, name string, all []T, err *error) []byte {
	if len(all) == 0 || *err != nil {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":[`...)
	for i := range all {
		if i > 0 {
			dst = append(dst, ',')
		}
		one, failed := json.Marshal(&all[i])
		if failed != nil {
			*err = failed
		}
		dst = append(dst, one...)
		if i%inspectSlice == 0 {
			runtime.Gosched()
		}
	}
	return append(dst, ']')
}

func (c *core) inspect(o InspectOptions) *Inspection {
	limit := o.Limit
	if limit <= 0 {
		limit = DefaultInspectLimit
	}
	in := &Inspection{Stats: c.snapshot()}
	taps := 0
	if l := c.taps.on(); l != nil {
		taps = len(*l)
	}
	in.Hub = HubInfo{PID: os.Getpid(), Started: c.start, Now: time.Now(),
		Policy: c.policy.String(), HeapBytes: heapBytes(), Taps: taps}
	if o.Peers {
		in.Peers = c.peerInfos(limit)
	}
	if o.Objects {
		in.Objects = c.objectInfos(limit)
	}
	if o.Routes {
		in.Routes = c.routeInfos(limit)
	}
	if o.Methods {
		in.Methods = c.methodInfos(limit, o.Buckets)
	}
	return in
}

// heapBytes is what the objects on the heap take.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}

// inspectSlice is how many entries an inspection looks at in one hold of the hub's lock: some
// microseconds. What comes or goes between two holds may be in it or not; everything else is in it
// once, but for objects of a peer that takes others back meanwhile.
const inspectSlice = 64

// pauseLocked lets others have the lock, and the processor, for a moment after each slice; n is how
// many entries were looked at.
func (c *core) pauseLocked(n int) {
	if n%inspectSlice == 0 {
		c.unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
}

// count is what f counts, under the lock: memory is made without it.
func (c *core) count(f func() int) int {
	c.mu.Lock()
	defer c.unlock()
	return f()
}

func (c *core) peerInfos(limit int) []PeerInfo {
	all := make([]PeerInfo, 0, min(limit, c.count(func() int { return len(c.peers) })))
	var slice [inspectSlice]*peer
	var infos [inspectSlice]PeerInfo
	for seq := uint64(0); len(all) < limit; {
		c.mu.Lock()
		at, _ := c.placeLocked(seq + 1)
		n := copy(slice[:min(inspectSlice, limit-len(all))], c.peers[at:])
		for k, p := range slice[:n] {
			infos[k] = p.infoLocked()
		}
		c.unlock()
		if n == 0 {
			break
		}
		seq = slice[n-1].seq
		for k, p := range slice[:n] {
			p.fill(&infos[k])
		}
		all = append(all, infos[:n]...)
		runtime.Gosched()
	}
	return all
}

// infoLocked is what the hub's lock guards of p. The name is the location, as it is.
func (p *peer) infoLocked() PeerInfo {
	i := PeerInfo{ID: p.seq, Inside: len(p.waiting), Asking: p.askingLocked(),
		Name: p.name}
	if p.listed != nil {
		i.Selectors = len(p.listed.entries)
	}
	return i
}

// fill adds to i what no lock of the hub's guards.
func (p *peer) fill(i *PeerInfo) {
	i.Location, i.Name, i.Kind = location(i.Name), shortName(i.Name), "silent"
	if p.spoken.Load() {
		i.Kind = "pandora"
	}
	s, ok := p.link.(*socket)
	if !ok {
		return
	}
	who, n := s.conn.Peer(), s.conn.Stats()
	i.PID, i.UID = int(who.PID), int(who.UID)
	i.Queued, i.Waiting = n.OutboxFrames, int64(n.OutboxBytes)
	i.FramesIn, i.FramesOut, i.BytesIn, i.BytesOut = n.FramesIn, n.FramesOut, n.BytesIn, n.BytesOut
	if m := p.member; m != nil {
		b := &m.backlog
		i.Kind, i.Inside, i.Asking = "native", n.Pending, n.Serving
		i.Queued += int(b.n.Load())
		i.Waiting += b.bytes.Load()
		i.Delayed, i.Refused, i.Dropped = b.delayed.Load(), b.refused.Load(), b.dropped.Load()
	}
}

// location is a location for JSON, or nil if it is none, or was cut.
func location(text string) json.RawMessage {
	if !json.Valid([]byte(text)) {
		return nil
	}
	return json.RawMessage(text)
}

// shortName is the name of a location in a list.
func shortName(raw string) string {
	if location(raw) == nil {
		return ""
	}
	var parts []string
	for _, key := range [...]string{"appName", "processName"} {
		if v := js.Field([]byte(raw), key); js.KindOf(v) == js.String && js.Truthy(v) {
			parts = append(parts, string(js.AppendString(nil, v)))
		}
	}
	return strings.Join(parts, "/")
}

func (c *core) objectInfos(limit int) []ObjectInfo {
	type name struct{ object, tag string }
	found := make(map[name]*ObjectInfo)
	c.mu.Lock()
	seen := 0
	for id := uint64(0); ; {
		at, _ := c.table.place(id + 1)
		if at == len(c.table.order) {
			break
		}
		l := c.table.order[at]
		id = l.id
		for k := 0; k < len(l.entries); k++ { // again and again: it may have changed in a pause
			if e := l.entries[k]; e.groups[keyObjectName] != nil {
				n := name{object: e.groups[keyObjectName].term.key.text}
				if g := e.groups[keyObjectTag]; g != nil {
					n.tag = g.term.key.text
				}
				i := found[n]
				if i == nil {
					i = &ObjectInfo{Name: n.object, Tag: n.tag}
					found[n] = i
				}
				i.Peers = append(i.Peers, l.peer.seq)
			}
			seen++
			c.pauseLocked(seen)
		}
	}
	c.unlock()
	all := make([]ObjectInfo, 0, len(found))
	for _, i := range found {
		all = append(all, *i)
	}
	slices.SortFunc(all, func(a, b ObjectInfo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Tag, b.Tag))
	})
	all = all[:min(limit, len(all))]
	c.mu.Lock()
	defer c.unlock()
	for k := range all {
		all[k].Calls = c.objects[all[k].Name].calls()
		c.pauseLocked(k + 1)
	}
	return all
}

// calls is how many calls of the object's methods there were.
func (o *object) calls() (n uint64) {
	if o == nil {
		return 0
	}
	if all := o.methods.Load(); all != nil {
		for _, m := range *all {
			n += m.calls.Load()
		}
	}
	return n
}

func (c *core) routeInfos(limit int) []RouteInfo {
	all := make([]RouteInfo, 0, c.count(func() int { return len(c.routes) }))
	c.mu.Lock()
	for _, r := range c.routes { // a map may change while it is walked
		all = append(all, RouteInfo{Selector: json.RawMessage(r.raw), Calls: r.calls.Load(),
			Providers: len(c.currentLocked(r).targets), Users: int(r.users.Load())})
		c.pauseLocked(len(all))
	}
	c.unlock()
	slices.SortFunc(all, func(a, b RouteInfo) int {
		return cmp.Compare(string(a.Selector), string(b.Selector))
	})
	return all[:min(limit, len(all))]
}

func (c *core) methodInfos(limit int, buckets bool) []MethodInfo {
	objects := make([]*object, 0, c.count(func() int { return len(c.objects) }))
	c.mu.Lock()
	for _, o := range c.objects {
		objects = append(objects, o)
		c.pauseLocked(len(objects))
	}
	c.unlock()
	var all []MethodInfo
	for _, o := range objects {
		methods := o.methods.Load()
		if methods == nil {
			continue
		}
		for _, m := range *methods {
			all = append(all, m.info(o.name, buckets))
		}
		runtime.Gosched()
	}
	slices.SortFunc(all, func(a, b MethodInfo) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Method, b.Method))
	})
	return all[:min(limit, len(all))]
}

func (m *method) info(object string, buckets bool) MethodInfo {
	var h Histogram
	m.took.into(&h)
	calls := m.calls.Load() // after the ends: each is of a call that is counted
	i := MethodInfo{Object: object, Method: m.name, Calls: calls, Failed: m.failed.Load(),
		Inside: int64(calls - h.Count()), MeanUs: micros(h.Mean()), P50Us: micros(h.Quantile(0.5)),
		P99Us: micros(h.Quantile(0.99)), P999Us: micros(h.Quantile(0.999)),
		MaxUs: micros(h.Max())}
	if buckets {
		i.Buckets = h.Buckets()
	}
	return i
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
