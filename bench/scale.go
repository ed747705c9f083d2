package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pithos-ipc/pithos/hub"
	"github.com/pithos-ipc/pithos/transport"
)

// The scenario hub-scale: calls over a hub that is empty but for their two ends, and then again
// when a process has joined it with very many clients, and each of them has published objects.
const (
	defaultPeers = 10_000
	peerObjects  = 10 // that each publishes
	fillers      = 32 // clients that join, or publish, at a time
	fillTimeout  = 2 * time.Minute
	spareFiles   = 100 // descriptors that a process needs beside its peers
)

// What the process with the many clients is asked.
const (
	askJoin    = "join"
	askPublish = "publish"
)

// scale measures both.
func (m *measurement) scale(ctx context.Context) (v values, err error) {
	if most := openFiles(); most < uint64(m.peers)+spareFiles {
		return nil, &skipError{fmt.Sprintf("%d peers want %d open files, the limit is %d",
			m.peers, m.peers+spareFiles, most)}
	}
	if err = m.start(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeAll(m.conns), m.stop()) }()
	if m.conns, err = m.row.Dial(m.setup, m.scenario.conns); err != nil {
		return nil, err
	}
	if err = m.greet(ctx); err != nil {
		return nil, err
	}
	if _, err = m.busy(ctx); err != nil { // to be warm for the first window as for the second
		return nil, err
	}
	few, err := m.busy(ctx)
	if err != nil {
		return nil, err
	}
	filler, err := start(ctx, job{Row: m.row.Name, Setup: m.setup, Peers: m.peers})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, filler.stop()) }()
	f, err := m.fill(filler)
	if err != nil {
		return nil, err
	}
	if v, err = m.busy(ctx); err != nil {
		return nil, err
	}
	for name, value := range f {
		v[name] = value
	}
	v[fewP50], v[fewP99] = few[metricP50], few[metricP99]
	v[scaleP50] = ratio(v[metricP50], few[metricP50])
	v[scaleP99] = ratio(v[metricP99], few[metricP99])
	return v, nil
}

// fill has the clients join and publish, and returns what that took, of time and of the hub's
// memory.
func (m *measurement) fill(filler *process) (values, error) {
	var memory [3]float64
	v := values{}
	for i, what := range []string{"", askJoin, askPublish} {
		if what != "" {
			begin := time.Now()
			if err := filler.askWithin(fillTimeout, what, new(struct{})); err != nil {
				return nil, err
			}
			v[what+"_s"] = time.Since(begin).Seconds()
		}
		var p period
		for _, ask := range []struct {
			word   string
			answer any
		}{{askRest, new(struct{})}, {askBegin, new(struct{})}, {askEnd, &p}} {
			if err := m.hub.ask(ask.word, ask.answer); err != nil {
				return nil, err
			}
		}
		memory[i] = float64(p.To.Memory)
	}
	v[peerMemory] = (memory[1] - memory[0]) / 1024 / float64(m.peers)
	v[selectorMemory] = (memory[2] - memory[1]) / float64(m.peers*peerObjects)
	return v, nil
}

// beFiller joins a hub with many clients, and has them publish, as it is asked.
func beFiller(j job, in io.Reader, out io.Writer) (err error) {
	group, err := transport.NewGroup(0, 0)
	if err != nil {
		return err
	}
	clients := make([]*hub.Client, j.Peers)
	defer func() {
		leave := func(i int) error {
			if clients[i] == nil {
				return nil
			}
			return closeWithin(clients[i].Close)
		}
		err = errors.Join(err, each(j.Peers, leave), group.Close())
	}()
	var o transport.Options
	o.Group = group
	o.Socket.Lane = transport.LaneOff
	o.BusyPoll = new(time.Duration)
	join := func(i int) (err error) {
		clients[i], err = joinHub(j.Setup, hub.JoinOptions{
			Location: hub.Location{AppName: fmt.Sprint("app-", i%100)},
		}, o)
		return err
	}
	ignore := transport.HandlerFunc(func(*transport.Request) {})
	publish := func(i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		for k := range peerObjects {
			_, err := clients[i].Publish(ctx, hub.Object{
				Name: fmt.Sprintf("object-%d-%d", i, k), OnLoop: true, Handler: ignore,
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err = say(out, nothing); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		do := join
		if lines.Text() == askPublish {
			do = publish
		}
		if err = each(j.Peers, do); err != nil {
			return err
		}
		if err = json.NewEncoder(out).Encode(struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// each does something for each of n, some of them at a time, and returns an error.
func each(n int, do func(i int) error) error {
	var wait sync.WaitGroup
	next := make(chan int)
	errs := make([]error, fillers)
	for w := range fillers {
		wait.Go(func() {
			for i := range next {
				if errs[w] == nil {
					errs[w] = do(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
