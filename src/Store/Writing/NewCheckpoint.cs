using Crstore.Model;

namespace Crstore.Store.Writing;

/// <summary>A checkpoint in the making: what it will be called, and what it counts on in the store.</summary>
/// <param name="Store">Where it goes.</param>
/// <param name="Series">Its series.</param>
/// <param name="Crid">Its CRID.</param>
/// <param name="Own">The CRID under which it stores pages: another one, if it is adopted.</param>
/// <param name="Adopted">It was captured into another store, and keeps what that has noted of the capture.</param>
/// <param name="Parent">What it is an increment to; <see cref="Crid.None"/> for a base.</param>
/// <param name="Generation">Of gc, when it looked at the store.</param>
/// <param name="Clock">Times the capture.</param>
internal sealed record NewCheckpoint(CheckpointStore Store, string Series, Crid Crid, Crid Own, bool Adopted, Crid Parent, ulong Generation, PhaseClock Clock);
