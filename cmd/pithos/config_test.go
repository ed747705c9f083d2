package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/procfile"
)

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	putFile(t, "name: a\nregistry: etcd://me:secret@h:1/p\nprocesses: {x: {command: run z}}", dir,
		"pithos.yaml")
	r := pithos("", "config", dir)
	require.Zero(t, r.code, r.stderr)
	require.Contains(t, r.stdout, "  x:\n    command:\n      - run\n      - z\n    dir: "+dir+"\n")
	require.Contains(t, r.stdout, "registry: etcd://me:***@h:1/p\n")
	require.Contains(t, pithos("", "config", "--secrets", dir).stdout, "me:secret@h:1/p")

	r = pithos("", "config", "--json", filepath.Join(dir, "pithos.yaml"))
	require.Zero(t, r.code, r.stderr)
	var v struct {
		Name      string
		Processes map[string]struct{ Command []string }
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &v))
	require.Equal(t, []string{"run", "z"}, v.Processes["x"].Command)

	putFile(t, "name: a\nproceses: {}", dir, "pithos.yaml")
	pithos("", "config", dir).requireFails(t, "", "pithos: "+dir+"/pithos.yaml:1:1: processes is "+
		"missing\n"+dir+`/pithos.yaml:2:1: proceses: unknown field; did you mean "processes"?`+"\n")
}

func TestMaskPassword(t *testing.T) {
	for url, want := range map[string]string{
		"etcd://h:1/p":                   "etcd://h:1/p",
		"etcd://h/p?ttl=1s":              "etcd://h/p?ttl=1s",
		"etcd://me:secret@h:1,i:2/p":     "etcd://me:***@h:1,i:2/p",
		"etcds://me:se@cr:et@h:1/p?a=@b": "etcds://me:***@h:1/p?a=@b",
		"etcd://me@home:secret@h:1":      "etcd://me@home:***@h:1",
	} {
		require.Equal(t, want, maskPassword(url))
	}
}

// regexpExample matches what makes a line of a process file an example.
var regexpExample = regexp.MustCompile(`(?m)^#-`)

func TestConfigSchema(t *testing.T) {
	r := pithos("", "config", "--schema")
	require.Zero(t, r.code)
	require.True(t, json.Valid([]byte(r.stdout)))
	pithos("", "config", "--schema", "x").requireFails(t, "", "pithos: --schema takes no file\n")
}

// TestInit wants each kind to be a process file, also with all of its examples.
func TestInit(t *testing.T) {
	for _, kind := range initKinds {
		dir := filepath.Join(t.TempDir(), "my shop!")
		require.NoError(t, os.Mkdir(dir, 0o700))
		path := filepath.Join(dir, "pithos.yaml")
		r := pithos("", "init", kind, "--dir", dir)
		require.Zero(t, r.code, r.stderr)
		require.Equal(t, path+" is written; \"pithos dev\" runs it\n", r.stdout)
		f, err := procfile.Load(path)
		require.NoError(t, err)
		require.Equal(t, "my-shop", f.Name)
		require.Len(t, f.Processes, 1)

		text, err := os.ReadFile(path)
		require.NoError(t, err)
		all := regexpExample.ReplaceAllString(string(text), "")
		f, err = procfile.Parse(path, []byte(all), os.LookupEnv)
		require.NoError(t, err, all)
		require.Len(t, f.Processes, 2)
		require.Len(t, f.Services, 2)

		pithos("", "init", kind, "--dir", dir).requireFails(t, "", "pithos: "+path+
			" is there already; --force replaces it\n")
		require.Zero(t, pithos("", "init", "--force", "--name", "other", "--dir", dir).code)
		f, err = procfile.Load(path)
		require.NoError(t, err)
		require.Equal(t, "other", f.Name)
	}
}

// TestInitLooks wants the kind to be seen by what is in the folder.
func TestInitLooks(t *testing.T) {
	dir := t.TempDir()
	putFile(t, "module example.com/m\n", dir, "go.mod")
	for _, program := range []string{"web", "job"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "cmd", program), 0o700))
		putFile(t, "package main\n", dir, "cmd", program, "main.go")
		putFile(t, "package main\n", dir, "cmd", program, "more.go")
	}
	require.Zero(t, pithos("", "init", "--dir", dir).code)
	f, err := procfile.Load(dir)
	require.NoError(t, err)
	require.Len(t, f.Processes, 2)
	require.Equal(t, []string{"go", "run", "./cmd/web"}, f.Process("web").Command)

	dir = t.TempDir()
	putFile(t, "{}", dir, "package.json")
	require.Zero(t, pithos("", "init", "--dir", dir).code)
	f, err = procfile.Load(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"node", "."}, f.Processes[0].Command)
}

func TestInitErrors(t *testing.T) {
	pithos("", "init", "ruby").requireFails(t, "", "pithos: \"ruby\": want go, node, command\n")
	pithos("", "init", "--dir", "/nosuch").requireFails(t, "", "pithos: /nosuch is no folder\n")
	dir := t.TempDir()
	r := pithos("", "init", "--dir", dir, "--name", "a b")
	require.Contains(t, r.stderr, "pithos: --name: want a name")
	requireGone(t, filepath.Join(dir, "pithos.yaml"))
}
