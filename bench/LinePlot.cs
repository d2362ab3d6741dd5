using System.Globalization;
using System.Security;
using System.Text;

namespace Crstore.Bench;

/// <summary>One line of a plot.</summary>
internal sealed record PlotLine(string Name, IReadOnlyList<(double X, double Y)> Points);

/// <summary>
/// Lines over two axes that begin at zero (or count in powers of ten), with a legend, as SVG by hand. Its colours can be told apart by
/// the colour-blind; they, and the grey of text and axes, can be seen on light and on dark ground.
/// </summary>
internal sealed record LinePlot(string Title, string X, string Y, bool LogX = false, bool LogY = false)
{
    /// <summary>Names of the places 1, 2, ... on the x axis, if what is there are no numbers.</summary>
    public IReadOnlyList<string> Places { get; init; } = [];

    private const int Left = 70, Top = 40, Width = 520, Height = 300, Legend = 260;
    private static readonly string[] Colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999", "#b8a800"];

    private readonly List<PlotLine> _lines = [];

    /// <summary>What is drawn.</summary>
    public IReadOnlyList<PlotLine> Lines => _lines;

    /// <summary>One more; nothing is drawn of one without points.</summary>
    public LinePlot With(string name, IEnumerable<(double X, double Y)> points)
    {
        var all = points.Where(p => double.IsFinite(p.X) && double.IsFinite(p.Y)).ToList();
        if (all.Count > 0) _lines.Add(new PlotLine(name, all));
        return this;
    }

    /// <summary>The whole file.</summary>
    public string Svg()
    {
        var across = Places.Count > 0 ? new Axis(0.5, Places.Count + 0.5, false, [.. Enumerable.Range(1, Places.Count).Select(i => (double)i)])
            : Axis.Over(_lines.SelectMany(l => l.Points).Select(p => p.X), LogX);
        var up = Axis.Over(_lines.SelectMany(l => l.Points).Select(p => p.Y), LogY);
        var svg = new StringBuilder();
        svg.AppendLine(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Left + Width + Legend} {Top + Height + 60}\" font-family=\"sans-serif\" font-size=\"12\">");
        svg.AppendLine("<style>text{fill:#777}.a{stroke:#777}.g{stroke:#8884}</style>");
        Text(svg, Left, 22, "start", Title, "font-size=\"15\"");
        foreach (var tick in across.Ticks)
        {
            var x = Left + across.At(tick) * Width;
            Line(svg, "g", x, Top, x, Top + Height);
            Text(svg, x, Top + Height + 18, "middle", Places.Count > 0 ? Places[(int)tick - 1] : Short(tick));
        }

        foreach (var tick in up.Ticks)
        {
            var y = Top + Height - up.At(tick) * Height;
            Line(svg, "g", Left, y, Left + Width, y);
            Text(svg, Left - 6, y + 4, "end", Short(tick));
        }

        Line(svg, "a", Left, Top + Height, Left + Width, Top + Height);
        Line(svg, "a", Left, Top, Left, Top + Height);
        Text(svg, Left + Width / 2, Top + Height + 42, "middle", X);
        Text(svg, 16, Top + Height / 2, "middle", Y, $"transform=\"rotate(-90 16 {Top + Height / 2})\"");
        for (var i = 0; i < _lines.Count; i++) Draw(svg, i, across, up);
        return svg.AppendLine("</svg>").ToString();
    }

    private void Draw(StringBuilder svg, int index, Axis across, Axis up)
    {
        var (line, colour) = (_lines[index], Colours[index % Colours.Length]);
        var dashed = index >= Colours.Length ? " stroke-dasharray=\"5 3\"" : "";
        var at = line.Points.Select(p => (X: Left + across.At(p.X) * Width, Y: Top + Height - up.At(p.Y) * Height)).ToList();
        var path = string.Join(' ', at.Select(p => string.Create(CultureInfo.InvariantCulture, $"{p.X:0.#},{p.Y:0.#}")));
        svg.AppendLine(CultureInfo.InvariantCulture, $"<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashed} points=\"{path}\"/>");
        foreach (var (x, y) in at) svg.AppendLine(CultureInfo.InvariantCulture, $"<circle cx=\"{x:0.#}\" cy=\"{y:0.#}\" r=\"3\" fill=\"{colour}\"/>");
        var (left, top) = (Left + Width + 12, Top + 8 + 20 * index);
        svg.AppendLine(CultureInfo.InvariantCulture, $"<line x1=\"{left}\" y1=\"{top}\" x2=\"{left + 20}\" y2=\"{top}\" stroke=\"{colour}\" stroke-width=\"3\"{dashed}/>");
        Text(svg, left + 26, top + 4, "start", line.Name);
    }

    private static void Line(StringBuilder svg, string kind, double x1, double y1, double x2, double y2) =>
        svg.AppendLine(CultureInfo.InvariantCulture, $"<line class=\"{kind}\" x1=\"{x1:0.#}\" y1=\"{y1:0.#}\" x2=\"{x2:0.#}\" y2=\"{y2:0.#}\"/>");

    private static void Text(StringBuilder svg, double x, double y, string anchor, string text, string more = "") =>
        svg.AppendLine(CultureInfo.InvariantCulture, $"<text x=\"{x:0.#}\" y=\"{y:0.#}\" text-anchor=\"{anchor}\" {more}>{SecurityElement.Escape(text)}</text>");

    private static string Short(double value) => value.ToString(Math.Abs(value) >= 1e6 ? "0.#e0" : "0.###", CultureInfo.InvariantCulture);

    /// <summary>From one end to the other, and where the lines across are.</summary>
    private sealed record Axis(double From, double To, bool Log, IReadOnlyList<double> Ticks)
    {
        public static Axis Over(IEnumerable<double> values, bool log)
        {
            var (least, most) = (double.MaxValue, 0.0);
            foreach (var value in values.Where(v => !log || v > 0)) (least, most) = (Math.Min(least, value), Math.Max(most, value));
            if (most <= 0) most = least = 1;
            if (log)
            {
                var (first, last) = (Math.Floor(Math.Log10(least)), Math.Ceiling(Math.Log10(most) + 1e-9));
                return new Axis(first, last, true, [.. Enumerable.Range(0, (int)(last - first) + 1).Select(i => Math.Pow(10, first + i))]);
            }

            var power = Math.Pow(10, Math.Floor(Math.Log10(most / 5)));
            var step = new[] { 1, 2, 5, 10 }.Select(f => f * power).First(s => most / s <= 6);
            var steps = (int)Math.Ceiling(most / step - 1e-9);
            return new Axis(0, steps * step, false, [.. Enumerable.Range(0, steps + 1).Select(i => i * step)]);
        }

        /// <summary>0 at one end, 1 at the other.</summary>
        public double At(double value) => ((Log ? Math.Log10(Math.Max(value, Math.Pow(10, From))) : value) - From) / (To - From);
    }
}
