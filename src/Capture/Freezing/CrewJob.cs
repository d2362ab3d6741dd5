using System.Runtime.ExceptionServices;

namespace Crstore.Capture.Freezing;

/// <summary>Work in one piece. A thread of the crew takes it while the freezing one does something else, or whoever needs its result.</summary>
/// <param name="work">What is to be done; may throw.</param>
public sealed class CrewJob(Action work) : ICrewWork
{
    private const int Idle = 0, Offered = 1, Taken = 2, Done = 3;
    private ExceptionDispatchInfo? _error;
    private int _state;

    /// <summary>Offers it to the crew; again, once it is done.</summary>
    public void Offer(FreezeCrew crew)
    {
        _error = null;
        Volatile.Write(ref _state, Offered);
        crew.Begin(this);
    }

    /// <summary>Does it if nobody has taken it, or waits until it is done; its exception comes back here.</summary>
    /// <param name="ask">Asked while it waits; may throw.</param>
    public void Complete(Action? ask = null)
    {
        TryWork();
        Wait(ask);
        _error?.Throw();
    }

    /// <summary>Takes the offer back, or waits until it is done.</summary>
    public void Withdraw()
    {
        Interlocked.CompareExchange(ref _state, Idle, Offered);
        Wait(null);
    }

    /// <inheritdoc/>
    public bool MayGrow => false;

    /// <inheritdoc/>
    public bool TryWork()
    {
        if (Interlocked.CompareExchange(ref _state, Taken, Offered) != Offered) return false;
        try
        {
            work();
        }
        catch (Exception e)
        {
            _error = ExceptionDispatchInfo.Capture(e);
        }
        finally
        {
            Volatile.Write(ref _state, Done);
        }

        return true;
    }

    private void Wait(Action? ask)
    {
        var spin = new CrewSpin();
        while (Volatile.Read(ref _state) == Taken)
        {
            ask?.Invoke();
            spin.Once();
        }
    }
}
