package bench

import (
	"fmt"
	"image/color"
	"io"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes of the plot. Each scenario is a tile with a bar for each row.
const (
	plotColumns   = 2
	tileWidth     = 11 * vg.Centimeter
	tileHead      = 1.6 * vg.Centimeter // title and axis
	barHeight     = 0.62 * vg.Centimeter
	barWidth      = 0.4 * vg.Centimeter
	tileGap       = 0.8 * vg.Centimeter
	plotMargin    = 0.6 * vg.Centimeter
	captionHeight = 1.2 * vg.Centimeter
	labelRoom     = 1.45 // how much longer than the longest bar the axis is, for the text beside it
)

// bar is one row in a tile.
type bar struct {
	row    string
	spread Spread // scaled
	format string
}

// WriteSVG draws the first figure of each scenario: the medians as bars, the least and the greatest
// round as a line over them.
func (r *Report) WriteSVG(w io.Writer) error {
	var tiles []*plot.Plot
	most := 0
	for _, s := range r.scenarios {
		bars := r.bars(s)
		if len(bars) == 0 {
			continue
		}
		p, err := tile(s, bars)
		if err != nil {
			return fmt.Errorf("bench: plot %s: %w", s.Name, err)
		}
		most = max(most, len(bars))
		tiles = append(tiles, p)
	}
	var grid [][]*plot.Plot
	for len(tiles) > 0 {
		line := make([]*plot.Plot, plotColumns)
		tiles = tiles[copy(line, tiles):]
		grid = append(grid, line)
	}
	lines := vg.Length(max(len(grid), 1))
	c := vgsvg.New(
		plotColumns*tileWidth+(plotColumns-1)*tileGap+2*plotMargin,
		lines*(tileHead+vg.Length(most)*barHeight)+(lines-1)*tileGap+2*plotMargin+captionHeight)
	r.draw(draw.New(c), grid)
	_, err := c.WriteTo(w)
	return err
}

// draw puts the tiles on a page under the machine they were measured on.
func (r *Report) draw(page draw.Canvas, grid [][]*plot.Plot) {
	r.caption(page)
	if len(grid) == 0 {
		return
	}
	tiles := draw.Tiles{
		Rows: len(grid), Cols: plotColumns, PadX: tileGap, PadY: tileGap,
		PadTop: plotMargin + captionHeight, PadBottom: plotMargin,
		PadLeft: plotMargin, PadRight: plotMargin,
	}
	for i, line := range plot.Align(grid, tiles, page) {
		for j, part := range line {
			if grid[i][j] != nil {
				grid[i][j].Draw(part)
			}
		}
	}
}

// caption writes where and how the figures were measured.
func (r *Report) caption(page draw.Canvas) {
	style := text.Style{
		Color: color.Black, Font: plot.DefaultFont, Handler: plot.DefaultTextHandler,
	}
	style.Font.Variant = "Sans"
	style.Font.Size = vg.Points(9)
	at := vg.Point{X: plotMargin, Y: page.Max.Y - plotMargin}
	m := r.Machine
	for _, line := range []string{
		fmt.Sprintf("%s, %d cores, kernel %s, %s, %s",
			m.CPU, m.Cores, m.Kernel, m.Go, m.Date.Format(time.DateOnly)),
		fmt.Sprintf("commit %.12s; medians of %d interleaved rounds of %v, dark lines: the rounds",
			orUnknown(m.Commit), r.Rounds, r.Duration),
	} {
		page.FillText(style, at, line)
		at.Y -= vg.Points(12)
	}
}

// bars returns the rows of a scenario, the last first: axes count upwards.
func (r *Report) bars(s Scenario) []bar {
	var bars []bar
	column := s.columns[0]
	rows := s.able(r.rows)
	for i := len(rows) - 1; i >= 0; i-- {
		v, ok := r.spread(s.Name, rows[i].Name, column.metric)
		if !ok {
			continue
		}
		f := column.factor()
		v.Median, v.Min, v.Max = v.Median*f, v.Min*f, v.Max*f
		bars = append(bars, bar{row: rows[i].Name, spread: v, format: column.format})
	}
	return bars
}

// tile draws one scenario.
func tile(s Scenario, bars []bar) (*plot.Plot, error) {
	p := plot.New()
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font,
	} {
		f.Variant = "Sans"
	}
	p.Title.Text = s.Name + ": " + s.columns[0].title
	p.Title.TextStyle.Font.Size = vg.Points(10)
	p.Title.Padding = vg.Points(4)
	p.X.Tick.Label.Font.Size = vg.Points(8)
	p.Y.Tick.Label.Font.Size = vg.Points(9)
	var names []string
	longest := 0.0
	for i, b := range bars {
		names = append(names, b.row)
		longest = max(longest, b.spread.Max)
		if err := addBar(p, float64(i), b); err != nil {
			return nil, err
		}
	}
	p.NominalY(names...)
	p.X.Min, p.X.Max = 0, max(longest, 1e-9)*labelRoom
	p.Y.Min, p.Y.Max = -0.6, float64(len(bars))-0.4
	return p, nil
}

// addBar adds the bar, the line of its spread and its figure.
func addBar(p *plot.Plot, at float64, b bar) error {
	chart, err := plotter.NewBarChart(plotter.Values{b.spread.Median}, barWidth)
	if err != nil {
		return err
	}
	chart.Horizontal = true
	chart.XMin = at
	chart.LineStyle.Width = 0
	chart.Color = color.Gray{Y: 0xb0}
	if isProduct(b.row) {
		chart.Color = color.RGBA{R: 0x1f, G: 0x6f, B: 0xb4, A: 0xff}
	}
	line, err := plotter.NewLine(plotter.XYs{{X: b.spread.Min, Y: at}, {X: b.spread.Max, Y: at}})
	if err != nil {
		return err
	}
	line.Color = color.Gray{Y: 0x40}
	line.Width = vg.Points(1)
	labels, err := plotter.NewLabels(plotter.XYLabels{
		XYs:    plotter.XYs{{X: max(b.spread.Max, b.spread.Median), Y: at}},
		Labels: []string{fmt.Sprintf(b.format, b.spread.Median)},
	})
	if err != nil {
		return err
	}
	labels.TextStyle[0].Font.Variant = "Sans"
	labels.TextStyle[0].Font.Size = vg.Points(9)
	labels.TextStyle[0].YAlign = text.YCenter
	labels.Offset = vg.Point{X: vg.Points(4)}
	p.Add(chart, line, labels)
	return nil
}

// isProduct reports whether a row is the product's.
func isProduct(row string) bool {
	switch row {
	case rowPithos, rowNoSpin, rowLane, rowLaneNoSpin, rowZerocopy, rowPortable, rowHub,
		rowHubLane, rowPandora:
		return true
	}
	return false
}
