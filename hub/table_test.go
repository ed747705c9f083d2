package hub

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sel parses a selector as the hub does.
func sel(raw string) *selector {
	var s selector
	s.parse([]byte(raw), nil)
	return s.clone()
}

// nobody is told of what is dropped.
func nobody(*entry) {}

// full is a selector with every key.
const full = `{"clientId":"c","appName":"a","processName":"p","pid":"1","objectName":"o","tag":"t",` +
	`"objectTag":"g"}`

func TestSelectorMatches(t *testing.T) {
	cases := []struct {
		name, wanted, published string
		want                    bool
	}{
		{"nothing asked", `{}`, `{"appName":"shop"}`, true},
		{"nothing asked of nothing", `{}`, `{"initialization":true}`, true},
		{"equal", `{"appName":"shop"}`, `{"appName":"shop","pid":"7"}`, true},
		{"other value", `{"appName":"shop"}`, `{"appName":"mall"}`, false},
		{"not published", `{"appName":"shop"}`, `{"pid":"7"}`, false},
		{"all keys count", `{"appName":"shop","pid":"7"}`, `{"appName":"shop","pid":"8"}`, false},
		{"every key", full, full, true},
		{"other keys are ignored", `{"appName":"a","x":1}`, `{"appName":"a","x":2}`, true},
		{"false values are free", `{"pid":null,"appName":"","tag":0,"objectName":false}`, `{}`,
			true},
		{"other zeros are free", `{"pid":-0,"appName":0.0,"tag":0e9}`, `{"pid":"1"}`, true},
		{"number is not string", `{"pid":12}`, `{"pid":"12"}`, false},
		{"numbers by value", `{"pid":12.0}`, `{"pid":1.2e1}`, true},
		{"strings by value", `{"pid":"\u0031\u0032"}`, `{"pid":"12"}`, true},
		{"strings are exact", `{"pid":"012"}`, `{"pid":"12"}`, false},
		{"true", `{"pid":true}`, `{"pid":true}`, true},
		{"true is not one", `{"pid":true}`, `{"pid":1}`, false},
		{"objects match nothing", `{"pid":{}}`, `{"pid":{}}`, false},
		{"arrays match nothing", `{"pid":[]}`, `{"pid":[]}`, false},
		{"last of repeated keys", `{"pid":"1","pid":"2"}`, `{"pid":"3","pid":"2"}`, true},
		{"escaped key", `{"\u0070id":"2"}`, `{"pid":"2"}`, true},
		{"tag key", `{"tag":"x"}`, `{"tag":"x"}`, true},
		{"object tag restricts", `{"objectName":"o","objectTag":"a"}`,
			`{"objectName":"o","objectTag":"b"}`, false},
		{"lone surrogates", `{"pid":"\ud83d"}`, `{"pid":"\ud83d"}`, true},
		{"lone surrogate and pair", `{"pid":"\ud83d"}`, `{"pid":"\ud83d\ude00"}`, false},
		{"string asks for nothing", `"shop"`, `{"appName":"shop"}`, true},
		{"number asks for nothing", `5`, `{"appName":"shop"}`, true},
		{"array asks for nothing", `["appName"]`, `{"appName":"shop"}`, true},
		{"string publishes nothing", `{"appName":"shop"}`, `"shop"`, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, sel(c.wanted).matches(sel(c.published)))
		})
	}
}

func TestSelectorKeyIsTheSameForEqualSelectors(t *testing.T) {
	same := []string{
		`{"appName":"a","pid":5}`, `{"pid":5.0,"appName":"\u0061"}`,
		`{"x":1,"pid":5e0,"appName":"a","tag":0}`,
	}
	for _, raw := range same {
		require.Equal(t, sel(same[0]).appendKey(nil), sel(raw).appendKey(nil), raw)
	}
	other := []string{`{}`, `{"appName":"a"}`, `{"appName":"a","pid":"5"}`,
		`{"appName":"a","pid":6}`, `{"appName":"ab","pid":5}`, `{"appName":"a","processName":"b"}`,
		`{"appName":"ab"}`}
	seen := map[string]string{string(sel(same[0]).appendKey(nil)): same[0]}
	for _, raw := range other {
		key := string(sel(raw).appendKey(nil))
		require.NotContains(t, seen, key, "%s and %s", raw, seen[key])
		seen[key] = raw
	}
}

// who are the numbers of the peers found.
func who(found *selection) []uint64 {
	var seqs []uint64
	for _, p := range found.peers {
		seqs = append(seqs, p.seq)
	}
	return seqs
}

func TestTableFallsBackToProvidersWithoutTag(t *testing.T) {
	published := map[uint64]string{
		1: `{"objectName":"cart","objectTag":"v1"}`,
		2: `{"objectName":"cart","objectTag":"v2"}`,
		3: `{"objectName":"cart"}`,
		4: `{"objectName":"bell","objectTag":""}`,
		5: `{"appName":"shop"}`,
	}
	cases := []struct {
		name, wanted string
		want         []uint64
	}{
		{"equal tags come first", `{"objectName":"cart","objectTag":"v1"}`, []uint64{1}},
		{"unknown tag", `{"objectName":"cart","objectTag":"v3"}`, []uint64{3}},
		{"no tag finds all", `{"objectName":"cart"}`, []uint64{1, 2, 3}},
		{"blank tag finds all", `{"objectName":"cart","objectTag":""}`, []uint64{1, 2, 3}},
		{"a blank tag is no tag", `{"objectName":"bell","objectTag":"v1"}`, []uint64{4}},
		{"a tag alone restricts", `{"objectTag":"v2"}`, []uint64{2}},
		{"a tag alone does not fall back", `{"objectTag":"v3"}`, nil},
		{"nor does one with a location", `{"appName":"shop","objectTag":"v3"}`, nil},
		{"unknown object", `{"objectName":"till","objectTag":"v1"}`, nil},
	}
	table := newTable()
	for seq := uint64(1); seq <= 5; seq++ {
		p := &peer{seq: seq}
		table.connect(p)
		table.add(p, sel(published[seq]))
	}
	var found selection
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			table.find(sel(c.wanted), &found)
			require.Equal(t, c.want, who(&found))
		})
	}
}

func TestTableLife(t *testing.T) {
	table, a, b := newTable(), &peer{seq: 1}, &peer{seq: 2}
	var found selection
	find := func(raw string) []uint64 {
		table.find(sel(raw), &found)
		return who(&found)
	}
	table.connect(a)
	table.connect(b)
	require.Equal(t, []uint64{1, 2}, find(`{}`))
	table.add(a, sel(`{"appName":"shop"}`))
	table.add(a, sel(`{"appName":"shop"}`))
	require.Equal(t, []uint64{1}, find(`{"appName":"shop"}`), "once, though it matches twice")
	require.Equal(t, 4, table.selectors)

	size := table.drop(a, sel(`{"appName":"shop"}`), nobody)
	require.Equal(t, 2*sel(`{"appName":"shop"}`).size(), size)
	require.Nil(t, find(`{"appName":"shop"}`))
	require.Equal(t, []uint64{1, 2}, find(`{}`), "the initial selector is left")

	require.Zero(t, table.drop(a, sel(`{}`), nobody))
	require.False(t, table.has(a))
	require.Equal(t, []uint64{2}, find(`{}`))
	table.add(a, sel(`{"appName":"shop"}`))
	require.Equal(t, []uint64{2, 1}, find(`{}`), "back at the end")
	table.remove(b)
	table.remove(b)
	require.Equal(t, []uint64{1}, find(`{}`))
	require.Equal(t, 1, table.selectors)
}

// naive is the table as section 5 of the protocol's description puts it, over decoded JSON.
type naive struct {
	order []uint64
	lists map[uint64][]map[string]any
}

func truthy(v any) bool { return v != nil && v != "" && v != 0.0 && v != false }

func (n *naive) matches(wanted, published map[string]any, keys []string) bool {
	for _, k := range keys {
		if w := wanted[k]; truthy(w) {
			switch w.(type) {
			case map[string]any, []any:
				return false
			}
			if w != published[k] {
				return false
			}
		}
	}
	return true
}

func (n *naive) find(wanted map[string]any) []uint64 {
	six := selectorKeys[:keyObjectTag]
	var equal, untagged []uint64
	for _, seq := range n.order {
		var isEqual, isUntagged bool
		for _, s := range n.lists[seq] {
			isEqual = isEqual || n.matches(wanted, s, selectorKeys)
			isUntagged = isUntagged || n.matches(wanted, s, six) && !truthy(s["objectTag"])
		}
		if isEqual {
			equal = append(equal, seq)
		}
		if isUntagged {
			untagged = append(untagged, seq)
		}
	}
	if len(equal) == 0 && truthy(wanted["objectTag"]) && truthy(wanted["objectName"]) {
		return untagged
	}
	return equal
}

func (n *naive) add(seq uint64, s map[string]any) {
	if n.lists[seq] == nil {
		n.order = append(n.order, seq)
	}
	n.lists[seq] = append(n.lists[seq], s)
}

func (n *naive) remove(seq uint64) {
	delete(n.lists, seq)
	n.order = slices.DeleteFunc(n.order, func(s uint64) bool { return s == seq })
}

func (n *naive) drop(seq uint64, wanted map[string]any) {
	n.lists[seq] = slices.DeleteFunc(n.lists[seq], func(s map[string]any) bool {
		return n.matches(wanted, s, selectorKeys)
	})
	if len(n.lists[seq]) == 0 {
		n.remove(seq)
	}
}

// randomSelector writes a selector with few keys and few values, so that many meet.
func randomSelector(rng *rand.Rand) string {
	values := []string{`"a"`, `"b"`, `"\u0061"`, `1`, `1.0`, `"1"`, `0`, `""`, `null`, `true`, `{}`}
	var members []string
	for _, k := range selectorKeys {
		if rng.IntN(3) == 0 {
			members = append(members, fmt.Sprintf("%q:%s", k, values[rng.IntN(len(values))]))
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestTableAgreesWithTheNaiveOne(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	table, model := newTable(), naive{lists: map[uint64][]map[string]any{}}
	peers := make([]*peer, 9)
	for i := range peers {
		peers[i] = &peer{seq: uint64(i)}
	}
	var found selection
	for step := range 20000 {
		raw := randomSelector(rng)
		var decoded map[string]any
		require.NoError(t, json.Unmarshal([]byte(raw), &decoded))
		p := peers[rng.IntN(len(peers))]
		switch rng.IntN(10) {
		case 0, 1, 2, 3:
			table.add(p, sel(raw))
			model.add(p.seq, decoded)
		case 4, 5:
			if table.has(p) {
				table.drop(p, sel(raw), nobody)
				model.drop(p.seq, decoded)
			}
		case 6:
			if rng.IntN(4) == 0 {
				table.remove(p)
				model.remove(p.seq)
			}
		default:
			table.find(sel(raw), &found)
			require.Equal(t, model.find(decoded), who(&found), "step %d: %s", step, raw)
			require.Len(t, found.set, len(found.peers))
		}
	}
}

func TestAllocsFind(t *testing.T) {
	table := newTable()
	for seq := range uint64(20) {
		p := &peer{seq: seq}
		table.connect(p)
		table.add(p, sel(fmt.Sprintf(`{"appName":"app","pid":"%d","objectName":"o"}`, seq)))
	}
	var found selection
	var wanted selector
	var scratch []byte
	raw := []byte(`{"appName":"\u0061pp","objectName":"o","objectTag":"none"}`)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		scratch = wanted.parse(raw, scratch[:0])
		table.find(&wanted, &found)
	}))
	require.Len(t, found.peers, 20)
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := newTable()
			for seq := range uint64(n) {
				p := &peer{seq: seq}
				table.connect(p)
				table.add(p, sel(fmt.Sprintf(`{"appName":"app","pid":"%d"}`, seq)))
			}
			var found selection
			wanted := sel(`{"appName":"app","pid":"7"}`)
			b.ReportAllocs()
			for b.Loop() {
				table.find(wanted, &found)
			}
		})
	}
}
