package bench

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/pithos-ipc/pithos/hub"
)

// The rows of Pandora's own clients: Node processes with the package pandora-hub from npm, once
// through this hub and once through the one in that package. Their callers measure themselves.
//
//	caller (node) ======> hub: ours, or node ======> provider (node)

//go:embed pandora
var pandoraFiles embed.FS

// pandoraReport is what a process of Node answers at the end of a window.
type pandoraReport struct {
	period
	ElapsedUs int64   `json:"elapsed_us"`
	CallUs    []int64 `json:"call_us"` // of each call that ended
}

func pandoraRows() []Row {
	return []Row{{
		Name:  rowPandora,
		About: "Pandora's Node clients through this hub",
		Modes: Pandora,
		Hub:   servePandora,
	}, {
		Name:  rowNodeHub,
		About: "Pandora's Node clients through its own hub, which is Node, too",
		Modes: Pandora,
	}}
}

// servePandora is this hub where Pandora's clients look for theirs, in the folder Setup.Path.
func servePandora(s Setup) (io.Closer, error) {
	o := hub.Options{}
	if s.BusyPoll > 0 {
		o.Transport.BusyPoll = &s.BusyPoll
	}
	return serveHub(filepath.Join(s.Path, filepath.Base(hub.PandoraPath())), o)
}

// pandora measures with Node processes.
func (m *measurement) pandora(ctx context.Context) (v values, err error) {
	packages, err := installPandora(ctx)
	if err != nil {
		return nil, err
	}
	script, err := pandoraFiles.ReadFile("pandora/peer.js")
	if err != nil {
		return nil, err
	}
	if err = os.Mkdir(m.setup.Path, 0o700); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	file := filepath.Join(m.setup.Path, "peer.js")
	if err = os.WriteFile(file, script, 0o600); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	node := func(args ...string) (*process, error) {
		c := exec.CommandContext(ctx, "node", append([]string{file}, args...)...)
		c.Env = append(os.Environ(), "PACKAGES="+packages, "PANDORA_TMP_DIR="+m.setup.Path,
			"NODE_NO_WARNINGS=1")
		return startCommand(c)
	}
	var all [3]*process // hub, provider, caller
	defer func() {
		for _, p := range []*process{all[2], all[1], all[0]} {
			if p != nil {
				err = errors.Join(err, p.stop())
			}
		}
	}()
	if m.row.Hub != nil {
		all[0], err = start(ctx, m.job("hub"))
	} else {
		all[0], err = node("hub")
	}
	if err == nil {
		all[1], err = node("provider")
	}
	if err == nil {
		all[2], err = node("caller", strconv.Itoa(m.scenario.calls))
	}
	if err != nil {
		return nil, err
	}
	return m.pandoraWindow(ctx, all)
}

// pandoraWindow lets the clients warm up, and takes the window.
func (m *measurement) pandoraWindow(ctx context.Context, all [3]*process) (values, error) {
	// The compilers of V8 have to see the code often before it is fast.
	if err := sleep(ctx, max(m.duration, nodeWarmUp)); err != nil {
		return nil, err
	}
	for _, p := range all {
		if err := p.ask(askBegin, new(struct{})); err != nil {
			return nil, err
		}
	}
	if err := sleep(ctx, pandoraFactor*m.duration); err != nil {
		return nil, err
	}
	var reports [3]pandoraReport
	for i := len(all) - 1; i >= 0; i-- {
		if err := all[i].ask(askEnd, &reports[i]); err != nil {
			return nil, err
		}
	}
	caller := reports[2]
	if len(caller.CallUs) == 0 {
		return nil, fmt.Errorf("bench: no call ended in %d us", caller.ElapsedUs)
	}
	m.hist = new(hub.Histogram)
	for _, us := range caller.CallUs {
		m.hist.Add(time.Duration(us) * time.Microsecond)
	}
	w := window{
		elapsed: time.Duration(caller.ElapsedUs) * time.Microsecond,
		calls:   uint64(len(caller.CallUs)),
		client:  caller.period, server: reports[1].period, hub: reports[0].period,
	}
	v := values{}
	w.rates(v, m.scenario.body)
	latencies(v, m.hist)
	return v, nil
}

const (
	nodeWarmUp    = 300 * time.Millisecond
	pandoraFactor = 2 // a window takes so many durations
)

// skipError says what a measurement needs that this machine does not have.
type skipError struct{ missing string }

func (e *skipError) Error() string { return "bench: skipped: " + e.missing }

// installPandora returns a folder with the packages of pandora/package-lock.json, which npm fetches
// by their names. It is kept in the user's cache, by the sum of that file.
func installPandora(ctx context.Context) (dir string, err error) {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", &skipError{tool + " is not on PATH"}
		}
	}
	lock, err := pandoraFiles.ReadFile("pandora/package-lock.json")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", &skipError{err.Error()}
	}
	sum := sha256.Sum256(lock)
	cache = filepath.Join(cache, "pithos-bench")
	dir = filepath.Join(cache, "node-"+hex.EncodeToString(sum[:8]))
	if _, err = os.Stat(dir); err == nil {
		return dir, nil
	}
	if err = os.MkdirAll(cache, 0o700); err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	fresh, err := os.MkdirTemp(cache, "new-")
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(fresh)
	if err = fetchPandora(ctx, fresh); err != nil {
		return "", err
	}
	if err = os.Rename(fresh, dir); err != nil { // another run may have been the first
		_, err = os.Stat(dir)
	}
	return dir, err
}

func fetchPandora(ctx context.Context, dir string) error {
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := pandoraFiles.ReadFile("pandora/" + name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, npmTimeout)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	npm.Dir = dir
	npm.WaitDelay = time.Second
	if out, err := npm.CombinedOutput(); err != nil {
		return &skipError{fmt.Sprintf("npm ci: %v: %s", err, out)}
	}
	return nil
}

const npmTimeout = 2 * time.Minute
