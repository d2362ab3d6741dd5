using Crstore.Capture;
using Crstore.Store;
using Spectre.Console;

namespace Crstore.Cli;

/// <summary>
/// A progress bar on standard error, if that is a terminal and the work takes over a second. The work itself stays on
/// the caller's thread and only notes numbers; the drawing happens on a thread of its own.
/// </summary>
internal sealed class ProgressDisplay : IProgress<CaptureProgress>, IProgress<StoreProgress>, IProgress<ulong>, IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(100);

    private readonly ManualResetEventSlim _done = new();
    private readonly ulong _total;
    private readonly Thread? _drawing;
    private volatile State _state;
    private bool _ended;

    private sealed record State(string Phase, ulong Done, ulong Total);

    private ProgressDisplay(string phase, ulong total, bool shown)
    {
        _total = total;
        _state = new State(phase, 0, total);
        if (!shown) return;
        _drawing = new Thread(Draw) { IsBackground = true, Name = "progress" };
        _drawing.Start();
    }

    /// <summary>Starts one; dispose it when the work is done.</summary>
    /// <param name="phase">What is being done, until the work says more.</param>
    /// <param name="total">Units in all, for work that reports a plain number; 0 if unknown.</param>
    /// <param name="quiet">Never draw.</param>
    public static ProgressDisplay Start(string phase, ulong total = 0, bool quiet = false) =>
        new(phase, total, shown: !quiet && !Console.IsErrorRedirected);

    /// <inheritdoc/>
    public void Report(CaptureProgress value) => _state = new State(value.Phase, value.PagesDone, value.PagesTotal);

    /// <inheritdoc/>
    public void Report(StoreProgress value) => _state = new State(value.Phase, value.Done, value.Total);

    /// <inheritdoc/>
    public void Report(ulong value) => _state = _state with { Done = value, Total = _total };

    /// <summary>Takes the bar away, for good.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _ended, true)) return;
        _done.Set();
        _drawing?.Join();
        _done.Dispose();
    }

    private void Draw()
    {
        if (_done.Wait(Patience)) return;
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });
        console.Progress()
            .AutoClear(true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn(), new SpinnerColumn())
            .Start(bars =>
            {
                var bar = bars.AddTask(Markup.Escape(_state.Phase));
                do
                {
                    var state = _state;
                    bar.Description = Markup.Escape(state.Phase);
                    bar.IsIndeterminate = state.Total == 0;
                    bar.MaxValue = Math.Max(1, state.Total);
                    bar.Value = Math.Min(state.Done, state.Total);
                }
                while (!_done.Wait(Redraw));
            });
    }
}
