package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pithos-ipc/pithos/transport"
)

// stateFile is there while a daemon runs, and after it was killed.
const stateFile = "daemon.json"

// state is what that file holds.
type state struct {
	PID     int        `json:"pid"`
	Started time.Time  `json:"started"`
	Apps    []savedApp `json:"apps"`
}

type savedApp struct {
	Name string `json:"name"`
	File string `json:"file"`
	Hub  string `json:"hub,omitempty"`
}

// save writes the state, as a whole or not at all. mu must be held.
func (s *Server) save() {
	st := state{PID: os.Getpid(), Started: s.started}
	for _, e := range s.apps {
		f := e.app.File()
		st.Apps = append(st.Apps, savedApp{f.Name, f.Path, s.hub(e)})
	}
	text, err := json.MarshalIndent(st, "", "  ")
	path := filepath.Join(s.o.Folder, stateFile)
	if err == nil {
		err = os.WriteFile(path+".new", append(text, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil { // a full disk, say: everything runs on, and a crash would be noticed less well
		s.o.Logger.Warn("state not saved", "error", err)
	}
}

// forget removes the state at a good end.
func (s *Server) forget() error {
	err := os.Remove(filepath.Join(s.o.Folder, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// clean looks for what a killed daemon has left, removes it, and says so; "" when there is none.
func (s *Server) clean() string {
	text, err := os.ReadFile(filepath.Join(s.o.Folder, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	var st state
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil {
		return fmt.Sprintf("the daemon before was killed, and what it left cannot be read: %v", err)
	}
	var names, left []string
	for _, a := range st.Apps {
		names = append(names, a.Name)
		if a.Hub != "" {
			if err := removeStale(a.Hub); err != nil {
				left = append(left, err.Error())
			}
		}
	}
	notice := fmt.Sprintf("the daemon before (pid %d, started %s) was killed", st.PID,
		st.Started.Format(time.DateTime))
	if len(names) > 0 {
		notice += fmt.Sprintf(" while it ran %s: start them again", strings.Join(names, ", "))
	}
	if len(left) > 0 {
		notice += "; still there: " + strings.Join(left, ", ")
	}
	return notice
}

// removeStale removes a socket that nobody listens at. To listen there and to close again does just
// that, under the socket's lock.
func removeStale(socket string) error {
	if strings.HasPrefix(socket, "@") {
		return nil // no file
	}
	if _, err := os.Lstat(socket); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for end := time.Now().Add(remnant); ; time.Sleep(20 * time.Millisecond) {
		l, err := transport.Listen(socket, transport.Options{})
		if err == nil {
			return l.Close(context.Background())
		}
		if !errors.Is(err, transport.ErrInUse) || time.Now().After(end) {
			return err
		}
	}
}

// Alive says whether somebody listens at a daemon's address, or at that of a hub.
func Alive(address string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), remnant)
	defer cancel()
	c, err := transport.DialNet(ctx, address)
	if err != nil {
		return errors.Is(err, context.DeadlineExceeded) // there are more who want to be let in
	}
	c.Close()
	return true
}
