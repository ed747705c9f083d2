package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"
)

// A run starts its own binary again, for servers and for hogs, with a job in the environment. A
// child reads requests from its standard input, one word a line, and answers each with one line
// of JSON. It ends with its input, so it does not outlive the run, however that ends.
//
//	parent                         child
//	starts it          ------->
//	                   <-------    {}            it listens
//	rest               ------->
//	                   <-------    {}            it has collected its garbage
//	begin              ------->
//	                   <-------    {}
//	end                ------->
//	                   <-------    {"from":{"mallocs":...},"to":{...}}
//	closes the pipe    ------->    exits
const childEnv = "PITHOS_BENCH_CHILD"

// job is what a child is for.
type job struct {
	Row     string `json:"row,omitempty"` // serve this row
	Hub     bool   `json:"hub,omitempty"` // as its hub
	Setup   Setup  `json:"setup"`
	Collect bool   `json:"collect,omitempty"` // force garbage collections
	Profile string `json:"profile,omitempty"` // write a CPU profile of the measurement here
	Peers   int    `json:"peers,omitempty"`   // join a hub with so many clients instead
	Load    string `json:"load,omitempty"`    // call, as this scenario says, instead of serving
	Hog     bool   `json:"hog,omitempty"`     // use up a processor instead
	CPU     int    `json:"cpu,omitempty"`     // this one
}

// The requests.
const (
	askRest  = "rest"
	askBegin = "begin"
	askEnd   = "end"
)

// Child does the work of a child process of a run, and reports whether this process is one. A
// program that calls Run calls Child first in main, and exits if it reports true.
func Child() (child bool, err error) {
	text, child := os.LookupEnv(childEnv)
	if !child {
		return false, nil
	}
	var j job
	if err = json.Unmarshal([]byte(text), &j); err != nil {
		return true, fmt.Errorf("bench: %s: %w", childEnv, err)
	}
	switch {
	case j.Hog:
		err = beHog(j, os.Stdin, os.Stdout)
	case j.Peers > 0:
		err = beFiller(j, os.Stdin, os.Stdout)
	case j.Load != "":
		err = beCaller(j, os.Stdin, os.Stdout)
	default:
		err = beServer(j, os.Stdin, os.Stdout)
	}
	return true, err
}

// beServer serves a row until the input ends.
func beServer(j job, in io.Reader, out io.Writer) error {
	rows, err := pick(Rows(), []string{j.Row}, Row.names)
	if err != nil {
		return err
	}
	serve := rows[0].Serve
	if j.Hub {
		serve = rows[0].Hub
	}
	server, err := serve(j.Setup)
	if err != nil {
		return err
	}
	defer server.Close()
	if j.Collect {
		defer collect()()
	}
	if err = say(out, nothing); err != nil {
		return err
	}
	return obey(j, in, out, func() uint64 { return 0 })
}

// beCaller calls until the input ends.
func beCaller(j job, in io.Reader, out io.Writer) error {
	rows, err := pick(Rows(), []string{j.Row}, Row.names)
	if err != nil {
		return err
	}
	scenarios, err := pick(Scenarios(), []string{j.Load}, Scenario.names)
	if err != nil {
		return err
	}
	m := &measurement{row: rows[0], scenario: scenarios[0], setup: j.Setup}
	if m.conns, err = m.row.Dial(m.setup, m.scenario.conns); err != nil {
		return err
	}
	if err = m.greet(context.Background()); err != nil {
		return errors.Join(err, closeAll(m.conns))
	}
	l := newLoad(m.scenario, m.conns)
	if err = say(out, nothing); err == nil {
		err = obey(j, in, out, l.calls)
	}
	return errors.Join(err, l.halt(), closeAll(m.conns))
}

// nothing is the answer to what needs none. Saying it allocates nothing, so that it does not count.
const nothing = "{}\n"

func say(out io.Writer, text string) error {
	_, err := io.WriteString(out, text)
	return err
}

// obey answers requests until the input ends. calls says how many calls have ended.
func obey(j job, in io.Reader, out io.Writer, calls func() uint64) error {
	var p period
	profile := profiler{path: j.Profile}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var err error
		switch string(lines.Bytes()) {
		case askRest:
			debug.FreeOSMemory()
			err = say(out, nothing)
		case askBegin:
			if err = profile.start(); err == nil {
				p.From, p.Calls = usageBefore(), calls()
				err = say(out, nothing)
			}
		case askEnd:
			p.To, p.Calls = usageAfter(), calls()-p.Calls
			if err = profile.stop(); err == nil {
				err = json.NewEncoder(out).Encode(p)
			}
		default:
			err = fmt.Errorf("bench: unknown request %q", lines.Text())
		}
		if err != nil {
			return err
		}
	}
	return lines.Err()
}

// beHog uses up a processor until the input ends.
func beHog(j job, in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(2) // one to spin, one to notice the end
	go func() {
		runtime.LockOSThread()
		pin(j.CPU)
		for x := uint64(1); x != 0; {
			x = x*6364136223846793005 + 1442695040888963407 | 1
		}
	}()
	if err := say(out, nothing); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

const (
	stopEvery    = time.Millisecond // the time between two forced stops of the world
	collectEvery = 20               // stops; after so many comes a collection
)

// collect stops the world, and forces collections, until the function it returns is called. A
// collection keeps every processor busy for a while, so its pauses say more about the machine; a
// stop for nothing but statistics shows how long the world takes to stop.
func collect() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(stopEvery)
		defer tick.Stop()
		var m runtime.MemStats
		for i := 1; ; i++ {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			if runtime.ReadMemStats(&m); i%collectEvery == 0 {
				runtime.GC()
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}

// profiler writes a CPU profile to a file, if it has a path.
type profiler struct {
	path string
	file *os.File
}

func (p *profiler) start() error {
	if p.path == "" {
		return nil
	}
	file, err := os.Create(p.path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	p.file = file
	return pprof.StartCPUProfile(file)
}

func (p *profiler) stop() error {
	if p.file == nil {
		return nil
	}
	pprof.StopCPUProfile()
	defer func() { p.file = nil }()
	return p.file.Close()
}
