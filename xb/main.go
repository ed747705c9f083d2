package main

import (
	"context"
	"flag"
	"os"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/bench"
)

func main() {
	if child, err := bench.Child(); child {
		if err != nil {
			println(err.Error())
			os.Exit(1)
		}
		return
	}
	rows := flag.String("rows", "", "")
	sc := flag.String("sc", "", "")
	n := flag.Int("n", 3, "")
	prof := flag.String("prof", "", "")
	d := flag.Duration("d", 300*time.Millisecond, "")
	flag.Parse()
	o := bench.Options{Rounds: *n, Duration: *d, Profiles: *prof}
	if *rows != "" {
		o.Rows = strings.Split(*rows, ",")
	}
	if *sc != "" {
		o.Scenarios = strings.Split(*sc, ",")
	}
	r, err := bench.Run(context.Background(), o)
	if err != nil {
		println(err.Error())
	}
	r.WriteTable(os.Stdout)
}
