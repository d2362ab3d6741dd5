using Crstore.Linux;

namespace Crstore.Capture;

/// <summary>
/// Lets crstore's own threads give way to the target, and to everybody else, while it runs: what is left to hash and to compress behind a freeze takes seconds of processor time.
/// From the first thread stopped to the last one running again, in the rounds between, and while the store's write lock is held they are as they were.
/// Who may not take it back (the unprivileged) can do it only once, when no freeze is left to come.
/// </summary>
public sealed class GivingWay : IDisposable
{
    private readonly int _nice;
    private readonly int _usual;
    private readonly bool _mayStay;
    private readonly PtraceThread _freezing;
    private bool _given;

    /// <summary>Nothing is changed yet.</summary>
    /// <param name="nice">Nice value to give way with; 0, or one that is no more than the usual one: they don't.</param>
    /// <param name="usual">What <see cref="Begin"/> has returned; null: what the threads have now.</param>
    /// <param name="mayStay">This process ends behind the capture, and begins no other: it need not be taken back.</param>
    /// <param name="freezing">If it can't be, this one is left alone: another freeze may follow where a tracker has lied. What it makes, the crew among it, is as it is.</param>
    public GivingWay(int nice, int? usual, bool mayStay, PtraceThread freezing)
    {
        _freezing = freezing;
        _usual = usual ?? Niceness.Of(0) ?? Niceness.Most;
        _nice = nice;
        _given = usual is not null;
        if (!IsMore(nice, _usual)) return;
        CanTakeBack = _given || Niceness.MayBeLowered(); // Begin has found out already: from where it can't be tried any more, if that is the largest
        _mayStay = mayStay;
    }

    /// <summary>For a program that has nothing in mind but a capture: gives way already while it prepares, if it can be taken back.</summary>
    /// <param name="nice">Nice value to give way with.</param>
    /// <returns>The usual one, which the capture takes back; null: nothing was changed.</returns>
    public static int? Begin(int nice)
    {
        if (Niceness.Of(0) is not { } usual || !IsMore(nice, usual) || !Niceness.MayBeLowered()) return null;
        Niceness.SetAll(nice);
        return usual;
    }

    /// <summary><see cref="TakeBack"/> will.</summary>
    public bool CanTakeBack { get; }

    /// <summary>The target runs, and what follows is long.</summary>
    /// <param name="last">No freeze follows, but for one that nobody expects.</param>
    public void Give(bool last)
    {
        if (!IsMore(_nice, _usual) || !(CanTakeBack || (last && _mayStay))) return;
        Niceness.SetAll(_nice, but: CanTakeBack ? 0 : _freezing.Run(ThisProcess.ThreadId));
        _given = true;
    }

    /// <summary>Before a freeze, and before others wait for us.</summary>
    public void TakeBack()
    {
        if (!_given || !CanTakeBack) return;
        Niceness.SetAll(_usual);
        _given = false;
    }

    /// <inheritdoc/>
    public void Dispose() => TakeBack();

    // With 0 it never does, whatever the usual one is.
    private static bool IsMore(int nice, int usual) => nice > Math.Max(usual, 0);
}
