using Crstore.Linux;

namespace Crstore.Capture.Injection;

/// <summary>What a slot has to know of the thread that it leads back.</summary>
/// <param name="Pid">The process, for whoever finds the slot left over.</param>
/// <param name="Saved">Registers of the thread in its stop.</param>
/// <param name="Mask">Its signal mask.</param>
/// <param name="StopSignal">Stops it behind its calls (<see cref="Injection.StopSignal"/>); 0 if there is none.</param>
internal readonly record struct LentThread(int Pid, UserRegs Saved, ulong Mask, int StopSignal);

/// <summary>What earlier calls have acquired, and the heal code gives back.</summary>
/// <param name="Fds">To be closed; null for none.</param>
/// <param name="Pages">Scratch pages to be unmapped; 0 for none.</param>
internal readonly record struct HeldThings(IReadOnlyList<int>? Fds, ulong Pages);
