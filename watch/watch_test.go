package watch_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/transport/transporttest"
	"github.com/pithos-ipc/pithos/watch"
)

func TestMain(m *testing.M) { transporttest.VerifyNoLeaks(m) }

func start(t *testing.T, rules ...watch.Rule) *watch.Watcher {
	t.Helper()
	w, err := watch.New(rules, func(err error) { t.Error(err) })
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

func write(t *testing.T, elem ...string) {
	t.Helper()
	path := filepath.Join(elem...)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	// not emptied first: a file that is there changes once
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = f.WriteString("x")
	require.NoError(t, errors.Join(err, f.Close()))
}

func next(t *testing.T, w *watch.Watcher) watch.Change {
	t.Helper()
	select {
	case c := <-w.C():
		return c
	case <-time.After(20 * time.Second):
		t.Fatal("no change was seen")
	}
	return watch.Change{}
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "main.go")
	write(t, dir, "b", "deep", "x.txt")
	write(t, dir, "node_modules", "m", "m.js")
	w := start(t,
		watch.Rule{Name: "all", Paths: []string{dir}, Sources: true},
		watch.Rule{Name: "a", Paths: []string{filepath.Join(dir, "a")}, Ignore: []string{"*.tmp"}},
		watch.Rule{Name: "b", Paths: []string{filepath.Join(dir, "b/deep/x.txt")}},
	)
	write(t, dir, "a", "main.go")
	require.Equal(t, watch.Change{Names: []string{"a", "all"},
		Paths: []string{filepath.Join(dir, "a/main.go")}}, next(t, w))

	// what does not matter to anybody, then what does
	write(t, dir, "out.bin")
	write(t, dir, "a", "x.tmp")
	write(t, dir, "a", "main.go~")
	write(t, dir, ".git", "HEAD.go")
	write(t, dir, "node_modules", "m", "m.js")
	require.NoError(t, os.Chmod(filepath.Join(dir, "a/main.go"), 0o644))
	write(t, dir, "b", "deep", "x.txt")
	require.Equal(t, watch.Change{Names: []string{"b"},
		Paths: []string{filepath.Join(dir, "b/deep/x.txt")}}, next(t, w))
}

// TestNewFolder sees files in folders that were made later.
func TestNewFolder(t *testing.T) {
	dir := t.TempDir()
	w := start(t, watch.Rule{Name: "p", Paths: []string{dir}})
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "x/y"), 0o700))
	require.Equal(t, []string{"p"}, next(t, w).Names)
	write(t, dir, "x", "y", "z")
	require.Contains(t, next(t, w).Paths, filepath.Join(dir, "x/y/z"))
}

// TestMovedFolder sees a folder that comes with all that is in it: of a move, or of somebody who is
// quicker than we are.
func TestMovedFolder(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, elsewhere, "x", "y", "z.go")
	write(t, elsewhere, "x", ".git", "z.go")
	w := start(t, watch.Rule{Name: "p", Paths: []string{dir}, Sources: true})
	require.NoError(t, os.Rename(filepath.Join(elsewhere, "x"), filepath.Join(dir, "x")))
	require.Equal(t, watch.Change{Names: []string{"p"},
		Paths: []string{filepath.Join(dir, "x/y/z.go")}}, next(t, w))
	write(t, dir, "x", "y", "z.go")
	require.Equal(t, []string{filepath.Join(dir, "x/y/z.go")}, next(t, w).Paths)
}

// TestReplaced sees a file that an editor replaces by another.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pithos.yaml")
	write(t, file)
	w := start(t, watch.Rule{Name: "file", Paths: []string{file}})
	for range 2 {
		write(t, dir, "new")
		require.NoError(t, os.Rename(filepath.Join(dir, "new"), file))
		require.Equal(t, watch.Change{Names: []string{"file"}, Paths: []string{file}}, next(t, w))
	}
}

func TestBurst(t *testing.T) {
	dir := t.TempDir()
	w := start(t, watch.Rule{Name: "p", Paths: []string{dir}})
	for i := range 50 {
		write(t, dir, string(rune('a'+i%26))+".go")
	}
	seen, changes := make(map[string]bool), 0
	for ; len(seen) < 26; changes++ {
		for _, path := range next(t, w).Paths {
			seen[path] = true
		}
	}
	require.Less(t, changes, 10, "one change for all, where nothing holds up who writes")
}

func TestSet(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	w := start(t, watch.Rule{Name: "one", Paths: []string{one}})
	w.Set([]watch.Rule{{Name: "two", Paths: []string{two}}})
	require.Equal(t, []string{two}, w.Watched())
	write(t, one, "a.go")
	write(t, two, "b.go")
	require.Equal(t, watch.Change{Names: []string{"two"},
		Paths: []string{filepath.Join(two, "b.go")}}, next(t, w))
}

// TestComesLater watches what is not there yet: a file, one in folders that are missing, and a
// folder.
func TestComesLater(t *testing.T) {
	dir := t.TempDir()
	file, deep := filepath.Join(dir, "a.txt"), filepath.Join(dir, "x", "y", "b.txt")
	folder := filepath.Join(dir, "v", "w")
	missing := 0
	w, err := watch.New([]watch.Rule{{Name: "file", Paths: []string{file}},
		{Name: "deep", Paths: []string{deep}}, {Name: "folder", Paths: []string{folder}}},
		func(err error) {
			require.True(t, errors.Is(err, os.ErrNotExist) || missing == 3, "%v", err)
			missing++
		})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	require.Equal(t, 3, missing)
	for range 2 { // it comes, then changes
		write(t, file)
		require.Equal(t, watch.Change{Names: []string{"file"}, Paths: []string{file}}, next(t, w))
		write(t, deep)
		require.Equal(t, watch.Change{Names: []string{"deep"}, Paths: []string{deep}}, next(t, w))
		write(t, folder, "z", "c.txt")
		require.Contains(t, next(t, w).Paths, filepath.Join(folder, "z", "c.txt"))
	}
	write(t, dir, "x", "other.txt") // is nobody's
	write(t, file)
	require.Equal(t, watch.Change{Names: []string{"file"}, Paths: []string{file}}, next(t, w))
	w.Set([]watch.Rule{{Name: "file", Paths: []string{file}},
		{Name: "never", Paths: []string{filepath.Join(file, "x")}}}) // in a file
	require.Equal(t, []string{dir}, w.Watched())
}

// TestMadeAgain watches a folder that is removed, or moved away, and made again: that was named,
// one in it, and one that it is in.
func TestMadeAgain(t *testing.T) {
	for _, gone := range []string{"x", "x/named", "x/named/in"} {
		for how, remove := range map[string]func(path string) error{
			"removed": os.RemoveAll,
			"moved":   func(path string) error { return os.Rename(path, t.TempDir()+"/away") },
		} {
			if gone == "x" && how == "moved" {
				continue // nobody tells of that
			}
			t.Run(gone+" "+how, func(t *testing.T) {
				dir := t.TempDir()
				file := filepath.Join(dir, "x", "named", "in", "a.go")
				write(t, file)
				w := start(t, watch.Rule{Name: "p", Sources: true,
					Paths: []string{filepath.Join(dir, "x", "named")}})
				sees := func() {
					t.Helper()
					for c := next(t, w); len(c.Paths) == 0 ||
						c.Paths[len(c.Paths)-1] != file; c = next(t, w) {
					}
				}
				for range 2 {
					write(t, file)
					sees()
					require.NoError(t, remove(filepath.Join(dir, gone)))
					write(t, file) // at once
					sees()
					require.NoError(t, remove(filepath.Join(dir, gone)))
					require.Eventually(t, func() bool {
						return !slices.Contains(w.Watched(), filepath.Join(dir, gone))
					}, 20*time.Second, time.Millisecond, "it is known to be gone")
					write(t, file)
					sees()
				}
			})
		}
	}
}

// TestMovedAway hears no more of a folder that was moved away.
func TestMovedAway(t *testing.T) {
	dir, away := t.TempDir(), filepath.Join(t.TempDir(), "away")
	write(t, dir, "named", "in", "a.go")
	w := start(t, watch.Rule{Name: "p", Paths: []string{filepath.Join(dir, "named")}})
	require.NoError(t, os.Rename(filepath.Join(dir, "named"), away))
	require.Equal(t, []string{filepath.Join(dir, "named")}, next(t, w).Paths)
	require.Equal(t, []string{dir}, w.Watched())
	write(t, away, "in", "b.go")
	write(t, dir, "named", "c.go")
	require.Contains(t, next(t, w).Paths, filepath.Join(dir, "named", "c.go"))
	require.Equal(t, []string{dir, filepath.Join(dir, "named")}, w.Watched())
}

func TestMissing(t *testing.T) {
	var errs []error
	w, err := watch.New([]watch.Rule{{Name: "p", Paths: []string{"/nosuch/x"}}},
		func(err error) { errs = append(errs, err) })
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], os.ErrNotExist)
}

// TestCloseWhileBusy ends it while it has something to report that nobody takes.
func TestCloseWhileBusy(t *testing.T) {
	dir := t.TempDir()
	w, err := watch.New([]watch.Rule{{Name: "p", Paths: []string{dir}}}, func(error) {})
	require.NoError(t, err)
	write(t, dir, "a.go")
	require.Equal(t, []string{"p"}, next(t, w).Names)
	write(t, dir, "b.go")
	require.NoError(t, w.Close())
	_, open := <-w.C()
	require.False(t, open)
}
