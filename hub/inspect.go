package hub

import (
	"encoding/json"
	"time"
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
	Version   string    `json:"version,omitempty"`
	Started   time.Time `json:"started"`
	Now       time.Time `json:"now"`
	Addresses []string  `json:"addresses"`
	Balancer  string    `json:"balancer,omitempty"`
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
