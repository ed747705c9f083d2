// Package procfile reads pithos.yaml, the file that says which processes and services make up an
// application.
//
//	pithos.yaml -> tree with positions -> File -> checked -> specs of package supervisor
//	                      ^
//	          one table of fields: it reads, names defaults,
//	          writes the resolved form, and draws the JSON schema
//
// Errors say where and what: file, line, column, the field, and what was expected there. All that
// can be found in one pass are reported together. A field that is not in the table is an error that
// names the nearest one, except for those at the top whose names begin with "x-": they are for
// anchors that other parts of the file refer to.
//
// # Variables
//
// In values, never in keys, ${NAME} stands for a variable of the environment that the file is read
// in; ${NAME:-text} has a default for one that is unset or empty, ${NAME:?text} an error. One that
// is unset is an error otherwise. $${ is a literal ${. A $ without a brace is left alone, for the
// shell that it may be meant for.
//
// # What it does not do
//
// It runs nothing and opens nothing but the file. It does not know which services a program has:
// whether one of that name is there is seen when the program starts.
package procfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pithos-ipc/pithos/supervisor"
)

// FileName is the name that the file has in its folder.
const FileName = "pithos.yaml"

// MaxSize is the largest file that is read, in bytes.
const MaxSize = 256 << 10

// A File is an application, resolved: variables replaced, paths absolute, defaults filled in.
type File struct {
	Path      string // where it was read
	Name      string
	Env       map[string]string // for every process
	Hub       Hub
	Registry  string     // where names are kept: Embedded, or an etcd:// or etcds:// URL
	Processes []*Process // in the order of the file
	Services  []*Service
}

// Embedded is the Registry in the hub.
const Embedded = "hub:"

// Hub is the hub of the application.
type Hub struct {
	Run        bool   // whether one is started, as the first child
	Path       string // its socket; empty: the usual place
	Pandora    bool   // listens where Pandora's clients look, too
	MaxBody    int64  // bytes
	MaxBatch   int64  // bytes
	MaxOutbox  int64  // bytes
	MaxPending int
	MaxQueue   int64 // bytes
	MaxTotal   int64 // bytes
	MaxConns   int
	Policy     string // for peers whose queue is full; empty: the hub's usual one
	Balancer   string // empty: the hub's usual one
	Log        supervisor.LogPolicy
}

// Process is one process of the application, of which Scale run.
type Process struct {
	Name      string
	Command   []string // with its arguments
	Env       map[string]string
	Dir       string
	Scale     int
	Order     int // those with lower ones start earlier and stop later
	OnDemand  bool
	DependsOn []supervisor.Dependency
	Ready     Ready
	Restart   supervisor.RestartPolicy
	Stop      supervisor.StopPolicy
	Log       supervisor.LogPolicy // File is empty for the usual place
	Limits    supervisor.Limits
	Watch     Watch

	args []string // those of the field of that name, until they are joined with Command
}

// Ready says how it is known that a process can do its work. The probes beside Notify are tried in
// turn, all of them have to succeed.
type Ready struct {
	Policy supervisor.Readiness // but for its Probe
	Object string               // an object of this name is published at the hub
	TCP    string               // host:port that accepts connections
	HTTP   string               // URL that answers with a status below 400
	Exec   []string             // command that exits with 0
}

// Watch says which changes of files restart a process under "pithos dev".
type Watch struct {
	On     bool
	Paths  []string // files and folders; none: the folder that the process runs in
	Ignore []string // patterns of names of files and folders (path.Match)
}

// Service is one service of the application, and which processes run it.
type Service struct {
	Name      string
	Processes []string // names of processes, or one of All and WeakAll
	Config    any      // maps, slices and values as encoding/json has them; nil without one
}

// The places of a service that are no name of a process.
const (
	All     = "all"      // every process, and each is started for it
	WeakAll = "weak-all" // every process that runs anyway
)

// Load reads the process file at path; of a folder, the one in it.
func Load(path string) (*File, error) {
	path, err := Find(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, text, os.LookupEnv)
}

// Find returns the absolute path of the process file at path, or in it if path is a folder.
func Find(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	st, err := os.Stat(path)
	folder := err == nil && st.IsDir()
	if folder {
		path = filepath.Join(path, FileName)
		st, err = os.Stat(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist) && folder:
		return "", fmt.Errorf("no %s in %s; \"pithos init\" writes one", FileName,
			filepath.Dir(path))
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("there is no %s; \"pithos init\" writes a process file", path)
	case err != nil:
		return "", err
	case !st.Mode().IsRegular():
		return "", fmt.Errorf("%s: not a file but %s", path, st.Mode().Type())
	case st.Size() > MaxSize:
		return "", fmt.Errorf("%s: %d bytes, limit %d", path, st.Size(), MaxSize)
	}
	return path, nil
}

// Process returns the process of that name, or nil.
func (f *File) Process(name string) *Process {
	for _, p := range f.Processes {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// Assigned returns the services that a process runs, in the order of the file.
func (f *File) Assigned(p *Process) []*Service {
	var found []*Service
	for _, s := range f.Services {
		if s.names(p) || s.Weak() && f.Runs(p) {
			found = append(found, s)
		}
	}
	return found
}

// Runs says whether a process is started with the application: those on demand only are when a
// service is assigned to them, by their name or by All.
func (f *File) Runs(p *Process) bool {
	if !p.OnDemand {
		return true
	}
	for _, s := range f.Services {
		if s.names(p) {
			return true
		}
	}
	return false
}

// Weak says whether s runs in every process that runs anyway, and starts none.
func (s *Service) Weak() bool { return slices.Contains(s.Processes, WeakAll) }

// names says whether s is assigned to p by its name or by All.
func (s *Service) names(p *Process) bool {
	return slices.Contains(s.Processes, p.Name) || slices.Contains(s.Processes, All)
}
