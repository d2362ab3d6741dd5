using Spectre.Console;

namespace Crstore.Cli;

/// <summary>
/// A table: aligned plain columns when the output is not a terminal (fast, and easy for scripts), drawn by Spectre when it is. A table that is wider
/// than the terminal is plain too: the terminal folds its lines, which can be read; cells of three letters, one above the other, can't.
/// </summary>
internal sealed class TextTable(params string[] columns)
{
    private readonly List<string[]> _rows = [];
    private readonly bool[] _right = new bool[columns.Length];

    /// <summary>Aligns columns to the right: figures.</summary>
    public TextTable Right(params ReadOnlySpan<int> indexes)
    {
        foreach (var index in indexes) _right[index] = true;
        return this;
    }

    /// <summary>Adds a row of as many cells as there are columns.</summary>
    public void Add(params string[] cells) => _rows.Add([.. cells.Select(Printable.Of)]);

    /// <summary>Writes it.</summary>
    public void Write(TextWriter output, string indent = "")
    {
        var widths = columns.Select((title, i) => _rows.Select(row => row[i].Length).Append(title.Length).Max()).ToArray();
        if (Console.IsOutputRedirected || !FitsTheTerminal(widths)) WritePlain(output, indent, widths);
        else WriteDrawn(output);
    }

    /// <summary>A line and two blanks around each column, and a line at the end.</summary>
    private static bool FitsTheTerminal(int[] widths) => widths.Sum(width => width + 3) + 1 <= AnsiConsole.Profile.Width;

    private void WritePlain(TextWriter output, string indent, int[] widths)
    {
        WriteLine([.. columns.Select(title => title.ToUpperInvariant())]);
        foreach (var row in _rows) WriteLine(row);

        void WriteLine(string[] cells)
        {
            var line = new System.Text.StringBuilder(indent);
            for (var i = 0; i < cells.Length; i++)
            {
                if (i > 0) line.Append("  ");
                line.Append(_right[i] ? cells[i].PadLeft(widths[i]) : cells[i].PadRight(widths[i]));
            }
            output.WriteLine(line.ToString().TrimEnd());
        }
    }

    private void WriteDrawn(TextWriter output)
    {
        var table = new Table().Border(TableBorder.Rounded).BorderColor(Color.Grey);
        for (var i = 0; i < columns.Length; i++)
        {
            var column = new TableColumn(new Markup($"[bold]{Markup.Escape(columns[i])}[/]"));
            table.AddColumn(_right[i] ? column.RightAligned() : column.LeftAligned());
        }
        foreach (var row in _rows) table.AddRow([.. row.Select(cell => new Text(cell))]);
        output.Flush();
        AnsiConsole.Write(table);
    }
}
