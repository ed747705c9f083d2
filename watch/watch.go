// Package watch tells which processes are concerned when files change.
//
//	events of the system -> is it anybody's? -> wait until it is quiet -> Change
//
// Editors write a file in several steps, and compilers write many files: a Change comes when
// nothing has happened for a while, with everything that has.
//
// Folders are watched with all that is below them, also what is made later, but for those whose
// names begin with a dot and for node_modules. Of a folder that nobody has named expressly only
// files that look like sources count, so that what a process writes there does not restart it.
//
// Of what is not there, not yet or not any more, the nearest folder that is there is watched, until
// it comes. What nobody tells is that a folder above all that is watched was moved away.
package watch

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// A Rule says what matters to one process.
type Rule struct {
	Name   string
	Paths  []string // files and folders, absolute
	Ignore []string // patterns of names (path.Match) of files and folders that do not
	// Sources says that of folders only files that look like sources matter.
	Sources bool
}

// A Change is what has changed in a while.
type Change struct {
	Names []string // of the rules that it matters to, sorted
	Paths []string // sorted
}

// Quiet is how long nothing may happen before a Change is reported, and Longest how long it may be
// held back.
const (
	Quiet   = 200 * time.Millisecond
	Longest = 2 * time.Second
)

// sources are the endings of files that look like sources.
var sources = map[string]bool{
	".go": true, ".mod": true, ".js": true, ".mjs": true, ".cjs": true, ".ts": true, ".tsx": true,
	".jsx": true, ".json": true, ".py": true, ".rb": true, ".php": true, ".java": true, ".rs": true,
	".c": true, ".h": true, ".cc": true, ".cpp": true, ".hpp": true, ".sh": true, ".pl": true,
	".html": true, ".tmpl": true, ".gohtml": true, ".css": true, ".sql": true, ".proto": true,
	".graphql": true, ".yaml": true, ".yml": true, ".toml": true, ".ini": true, ".conf": true,
}

// A Watcher watches for a set of rules.
type Watcher struct {
	fs   *fsnotify.Watcher
	c    chan Change
	warn func(error)
	done chan struct{}

	mu      sync.Mutex      // held over calls of the system, for which only Set and run would wait
	rules   []Rule          // guarded by mu
	folders map[string]bool // that are watched for the rules; guarded by mu
	faults  []error         // for warn; guarded by mu
}

// New starts to watch. warn gets what cannot be watched, which is not fatal: from New, and later
// from a goroutine. The Watcher has to be closed.
func New(rules []Rule, warn func(error)) (*Watcher, error) {
	f, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &Watcher{fs: f, warn: warn, c: make(chan Change), done: make(chan struct{})}
	w.Set(rules)
	go w.run()
	return w, nil
}

// Set replaces the rules, and watches no more what only the old ones wanted. Changes that happened
// before may be reported by the old ones.
func (w *Watcher) Set(rules []Rule) {
	w.mu.Lock()
	w.rules, w.folders = rules, make(map[string]bool)
	for _, r := range rules {
		for _, p := range r.Paths {
			w.addRootLocked(filepath.Clean(p), true)
		}
	}
	for _, folder := range w.fs.WatchList() {
		if !w.folders[folder] {
			_ = w.fs.Remove(folder) // it may be gone already
		}
	}
	w.unlock()
}

// unlock tells what cannot be watched, without the lock.
func (w *Watcher) unlock() {
	faults := w.faults
	w.faults = nil
	w.mu.Unlock()
	for _, err := range faults {
		w.warn(err)
	}
}

// C is where changes come. It is closed by Close.
func (w *Watcher) C() <-chan Change { return w.c }

// Close ends it and waits until nothing of it runs.
func (w *Watcher) Close() error {
	err := w.fs.Close()
	for range w.c { // lets run go on, if it is about to report
	}
	<-w.done
	return err
}

// addRootLocked watches a path that was named, and returns the files that it has met there. Of a
// file it watches the folder that it is in, since editors replace files by new ones; of what is not
// there, the nearest folder that is. first has it say so.
func (w *Watcher) addRootLocked(path string, first bool) (files []string) {
	st, err := os.Stat(path)
	switch {
	case err == nil && st.IsDir():
		if files = w.addLocked(path); w.folders[path] {
			return files
		}
	case err == nil:
		if w.watchLocked(filepath.Dir(path)) {
			return []string{path}
		}
	case first:
		w.faults = append(w.faults, err)
	}
	next := path // the first part of path that is not there
	for folder := filepath.Dir(path); folder != next; folder = filepath.Dir(folder) {
		if st, err := os.Stat(folder); err == nil && st.IsDir() && w.watchLocked(folder) {
			break
		}
		next = folder
	}
	st, err = os.Stat(next)
	if err == nil && (st.IsDir() || next == path) { // it came before its folder was watched
		return w.addRootLocked(path, false)
	}
	return nil
}

// addLocked watches the folder at path and all below it, and returns the files that it has met
// there: what comes to a folder before it is watched has no event.
func (w *Watcher) addLocked(path string) (files []string) {
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		return nil
	}
	_ = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil: // gone already, or not readable: not watched
		case !d.IsDir():
			files = append(files, name)
		case name != path && unwatched(d.Name()):
			return fs.SkipDir
		default:
			w.watchLocked(name)
		}
		return nil
	})
	return files
}

// watchLocked watches a folder, and says false when that has gone meanwhile.
func (w *Watcher) watchLocked(folder string) bool {
	folder = filepath.Clean(folder)
	err := w.fs.Add(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	w.folders[folder] = true
	if err != nil {
		w.faults = append(w.faults, &fs.PathError{Op: "watch", Path: folder, Err: err})
	}
	return true
}

func unwatched(folder string) bool {
	return strings.HasPrefix(folder, ".") || folder == "node_modules"
}

// run collects events and reports them when it is quiet.
func (w *Watcher) run() {
	defer close(w.done)
	defer close(w.c)
	names, paths := make(map[string]bool), make(map[string]bool)
	quiet := time.NewTimer(time.Hour)
	defer quiet.Stop()
	var first time.Time
	for {
		select {
		case e, open := <-w.fs.Events:
			if !open {
				return
			}
			if !w.take(e, names, paths) {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			quiet.Reset(min(Quiet, time.Until(first.Add(Longest))))
		case err, open := <-w.fs.Errors:
			if !open {
				return
			}
			w.warn(err)
		case <-quiet.C:
			if len(names) == 0 {
				continue
			}
			w.c <- Change{slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(paths))}
			clear(names)
			clear(paths)
			first = time.Time{}
		}
	}
}

// take notes whom e matters to, and watches a folder that is new.
func (w *Watcher) take(e fsnotify.Event, names, paths map[string]bool) bool {
	if e.Op == fsnotify.Chmod {
		return false
	}
	changed := []string{e.Name}
	matters := false
	w.mu.Lock()
	defer w.unlock()
	if e.Op.Has(fsnotify.Remove) || e.Op.Has(fsnotify.Rename) {
		changed = append(changed, w.wentLocked(e.Name)...)
	}
	if e.Op.Has(fsnotify.Create) {
		changed = append(changed, w.cameLocked(e.Name)...)
	}
	for _, path := range changed {
		for _, r := range w.rules {
			if r.matches(path) {
				names[r.Name], paths[path], matters = true, true, true
			}
		}
	}
	return matters
}

// cameLocked watches what is new at path, if it is anybody's, and returns the files that it has met
// there. Folders on the way to what a rule names are new ones, too.
func (w *Watcher) cameLocked(path string) (files []string) {
	for _, r := range w.rules {
		for _, root := range r.Paths {
			if root = filepath.Clean(root); strings.HasPrefix(root, path+"/") {
				files = append(files, w.addRootLocked(root, false)...)
			}
		}
	}
	if w.belowLocked(path) {
		files = append(files, w.addLocked(path)...)
	}
	return files
}

// wentLocked watches a folder no more that was removed, or moved to where it is of no concern, nor
// what was in it. Of what a rule names there it watches the nearest folder that is left, or what
// has come in its place; the files of that are returned.
func (w *Watcher) wentLocked(path string) (files []string) {
	if !w.folders[path] {
		return nil
	}
	for folder := range w.folders {
		if folder == path || strings.HasPrefix(folder, path+"/") {
			delete(w.folders, folder)
			_ = w.fs.Remove(folder) // the system may have done that
		}
	}
	for _, r := range w.rules {
		for _, root := range r.Paths {
			if root = filepath.Clean(root); root == path || strings.HasPrefix(root, path+"/") {
				files = append(files, w.addRootLocked(root, false)...)
			}
		}
	}
	if w.belowLocked(path) {
		files = append(files, w.addLocked(path)...)
	}
	return files
}

// belowLocked says whether path is what a rule names, or in a folder that it names.
func (w *Watcher) belowLocked(path string) bool {
	for _, r := range w.rules {
		for _, root := range r.Paths {
			root = filepath.Clean(root)
			if path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/") &&
				!unwatched(filepath.Base(path)) {
				return true
			}
		}
	}
	return false
}

// matches says whether a change at path matters to r.
func (r Rule) matches(path string) bool {
	for _, root := range r.Paths {
		if path == root {
			return true // also a file whose name is ignored elsewhere
		}
		rest, below := strings.CutPrefix(path, strings.TrimSuffix(root, "/")+"/")
		if below && !r.ignores(rest) {
			return !r.Sources || sources[filepath.Ext(path)]
		}
	}
	return false
}

// ignores says whether a path within a folder does not matter: because of a pattern, or as a file
// that editors and tests leave behind.
func (r Rule) ignores(rest string) bool {
	base := filepath.Base(rest)
	if strings.HasSuffix(base, "~") || strings.HasSuffix(base, ".swp") || base == "4913" ||
		strings.HasSuffix(base, ".log") || strings.HasSuffix(base, "_test.go") {
		return true
	}
	for part := range strings.SplitSeq(rest, "/") {
		if unwatched(part) {
			return true
		}
		for _, pattern := range r.Ignore {
			if ok, _ := filepath.Match(pattern, part); ok {
				return true
			}
		}
	}
	return false
}
