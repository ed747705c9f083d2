package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

func main() {
	srv := flag.String("srv", "", "")
	n := flag.Int("n", 100000, "")
	par := flag.Int("par", 1, "")
	cb := flag.Int("cb", 0, "")
	bp := flag.Duration("bp", 50*time.Microsecond, "")
	prof := flag.String("prof", "", "")
	flag.Parse()
	if *srv != "" {
		if *prof != "" {
			f, _ := os.Create(*prof)
			pprof.StartCPUProfile(f)
			defer pprof.StopCPUProfile()
		}
		l, err := transport.Listen(*srv, transport.Options{BusyPoll: bp, Handler: transport.HandlerFunc(func(r *transport.Request) { r.Reply(r.Body()) })})
		if err != nil {
			panic(err)
		}
		os.Stdin.Read(make([]byte, 1))
		fmt.Fprintf(os.Stderr, "server %+v\n", l.Stats())
		return
	}
	path := "/tmp/xp.sock"
	cmd := exec.Command(os.Args[0], "-srv", path, "-bp", bp.String())
	if *prof != "" {
		cmd.Args = append(cmd.Args, "-prof", *prof+".srv")
	}
	in, _ := cmd.StdinPipe()
	cmd.Stderr = os.Stderr
	cmd.Start()
	time.Sleep(200 * time.Millisecond)
	c, err := transport.Dial(context.Background(), path, transport.Options{BusyPoll: bp})
	if err != nil {
		panic(err)
	}
	if *prof != "" {
		f, _ := os.Create(*prof)
		pprof.StartCPUProfile(f)
	}
	body := make([]byte, 64)
	t0 := time.Now()
	if *cb > 0 {
		left := *n
		done := make(chan struct{})
		sent := 0
		var f func([]byte, error)
		f = func(b []byte, err error) {
			left--
			if left == 0 {
				close(done)
			}
			if sent < *n {
				sent++
				if err := c.Go(transport.Message{Body: body}, nil, f); err != nil {
					panic(err)
				}
			}
		}
		for range *cb {
			sent++
			c.Go(transport.Message{Body: body}, nil, f)
		}
		<-done
	} else if *par > 1 {
		done := make(chan struct{})
		for range *par {
			go func() {
				buf := make([]byte, 128)
				for range *n / *par {
					if _, err := c.Call(context.Background(), body, buf); err != nil {
						panic(err)
					}
				}
				done <- struct{}{}
			}()
		}
		for range *par {
			<-done
		}
	} else {
		buf := make([]byte, 128)
		lat := make([]time.Duration, *n)
		for i := range lat {
			t := time.Now()
			if _, err := c.Call(context.Background(), body, buf); err != nil {
				panic(err)
			}
			lat[i] = time.Since(t)
		}
		defer func() {
			slices.Sort(lat)
			fmt.Println("p50", lat[*n/2], "p90", lat[*n*9/10], "p99", lat[*n*99/100], "p999", lat[*n*999/1000], "max", lat[*n-1])
		}()
	}
	d := time.Since(t0)
	fmt.Println(d, float64(*n)/d.Seconds()/1e6, "M/s")
	fmt.Fprintf(os.Stderr, "client %+v\n", c.Stats())
	if *prof != "" {
		pprof.StopCPUProfile()
	}
	in.Close()
	cmd.Wait()
}
