package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pithos-ipc/pithos/hub"
)

// sample is a report of two rounds in which the product takes 3 us and 5 us and plain 10 us.
func sample() *Report {
	r := newReport(Options{Rounds: 2, Duration: time.Second}, Rows(), Scenarios())
	for round := range 2 {
		var h hub.Histogram
		h.Add(time.Duration(3+2*round) * time.Microsecond)
		r.add(latencyScenario, rowPithos, values{
			metricP50: float64(3 + 2*round), metricP999: 30, clientAllocs: 0, serverAllocs: 0.5,
		}, &h, nil)
		r.add(latencyScenario, rowPlain, values{metricP50: 10, metricP999: 20}, nil, nil)
		r.add(callers64Scenario, rowPithos, values{metricRate: 2.5e6}, nil, nil)
		r.add(callers64Scenario, rowPlain, values{metricRate: 1e6}, nil, nil)
	}
	r.add(body1MScenario, rowSelf, nil, nil, errors.New("it broke"))
	return r
}

func TestTable(t *testing.T) {
	var b strings.Builder
	require.NoError(t, sample().WriteTable(&b))
	text := b.String()
	for _, want := range []string{
		"2 interleaved rounds of 1s",
		"pithos  4.00 (3.00-5.00)     0.40 (0.30-0.50)  -",
		"plain   10.00 (10.00-10.00)  1.00 (1.00-1.00)  -",
		"pithos  2500 (2500-2500)  2.50 (2.50-2.50)",
		"self  failed: it broke",
		"latency: p50_us of pithos to plain at most 0.3 ",
		"callers-64: calls_per_s of pithos to plain at least 2 ",
	} {
		require.Contains(t, text, want)
	}
	require.ErrorContains(t, sample().Err(), "body-1m self: it broke")
}

func TestClaimsAreJudged(t *testing.T) {
	holds := map[string]bool{}
	for _, v := range sample().Claims {
		holds[v.Claim] = v.Holds
	}
	require.Equal(t, map[string]bool{
		"latency: p50_us of pithos to plain at most 0.3":         false,
		"latency: p999_us of pithos to plain at most 1":          false,
		"callers-64: calls_per_s of pithos to plain at least 2":  true,
		"latency: client_allocs_per_call of pithos at most 0.01": true,
		"latency: server_allocs_per_call of pithos at most 0.01": false,
	}, holds)
}

func TestClaimsNameWhatIsMeasured(t *testing.T) {
	for _, c := range claims() {
		_, err := pick(Scenarios(), []string{c.scenario}, Scenario.names)
		require.NoError(t, err)
		require.True(t, c.most > 0 != (c.least > 0), "%v", c)
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteJSON(&b))
	var back Report
	require.NoError(t, json.Unmarshal(b.Bytes(), &back))
	require.Equal(t, 2, back.Rounds)
	require.Len(t, back.Results, 5)
	first := back.Results[0]
	require.Equal(t, []float64{3, 5}, first.Metrics[metricP50].Rounds)
	require.Len(t, first.Histogram, 2)
	require.NotEmpty(t, back.Machine.Go)
	require.NotEmpty(t, back.Machine.CPU)
	require.NotEmpty(t, back.Machine.Kernel)
	require.Len(t, back.Claims, 5)
}

// TestInclude adds a run of other scenarios to one, keeps what was measured anew, and again.
func TestInclude(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteJSON(&b))
	first, err := ReadReport(&b)
	require.NoError(t, err)

	second := newReport(Options{Rounds: 1}, Rows(), Scenarios())
	second.add(latencyScenario, rowPithos, values{metricP50: 1, metricP999: 30}, nil, nil)
	second.add(latencyScenario, rowPlain, values{metricP50: 10, metricP999: 20}, nil, nil)
	second.Include(first)
	require.Len(t, second.Results, 5)
	require.Len(t, second.Earlier, 1)
	require.Equal(t, []string{callers64Scenario, body1MScenario}, second.Earlier[0].Scenarios)
	require.Equal(t, 1.0, second.find(latencyScenario, rowPithos).Metrics[metricP50].Median)
	require.Len(t, second.Claims, 3, "of both parts: %v", second.Claims)
	require.True(t, second.Claims[0].Holds)

	third := newReport(Options{Rounds: 1}, Rows(), Scenarios())
	third.add(callers64Scenario, rowPithos, values{metricRate: 3e6}, nil, nil)
	third.Include(second)
	require.Len(t, third.Earlier, 2)
	require.Equal(t, []string{body1MScenario}, third.Earlier[0].Scenarios)
	require.Equal(t, []string{latencyScenario}, third.Earlier[1].Scenarios)
	var text strings.Builder
	require.NoError(t, third.WriteTable(&text))
	require.Contains(t, text.String(), "from commit ")
	require.Contains(t, text.String(), "latency: p50_us of pithos to plain at most 0.3 ")

	_, err = ReadReport(strings.NewReader("{"))
	require.ErrorContains(t, err, "bench: read report: ")
}

func TestSVG(t *testing.T) {
	for name, r := range map[string]*Report{
		"sample":  sample(),
		"nothing": newReport(Options{Rounds: 1}, Rows(), Scenarios()),
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, r.WriteSVG(&b))
			text := b.String()
			for d := xml.NewDecoder(&b); ; {
				_, err := d.Token()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
			}
			if name == "sample" {
				require.Contains(t, text, ">latency: p50 us<")
				require.Contains(t, text, ">pithos<")
				require.Contains(t, text, ">4.00<")
			}
		})
	}
}
