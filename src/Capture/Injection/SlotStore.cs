using Crstore.Linux;

namespace Crstore.Capture.Injection;

/// <summary>The slots of one process: which are in use, and writing them.</summary>
internal sealed class SlotStore(ProcessMemory memory, SlotArea area)
{
    private readonly bool[] _used = new bool[SlotArea.Count];
    private bool _dirty;

    /// <summary>Where they are.</summary>
    public SlotArea Area { get; } = area;

    /// <summary>A free slot. Three are enough by construction: one parked thread, and one that moves between two, or two that stay where they are.</summary>
    public int Take()
    {
        var slot = Array.IndexOf(_used, false);
        if (slot < 0) throw new InvalidOperationException("no free slot: two threads are on loan already");
        _used[slot] = true;
        return slot;
    }

    /// <summary>No thread is in the slot any more.</summary>
    public void Give(int slot) => _used[slot] = false;

    /// <summary>Writes a slot's code and data.</summary>
    public void Write(int slot, ReadOnlySpan<byte> image)
    {
        _dirty = true;
        memory.Write(Area[slot], image);
    }

    /// <summary>Makes them zero again, if they were written.</summary>
    public void Clear(bool force = false)
    {
        if (!_dirty && !force) return;
        memory.Write(Area.Start, new byte[SlotArea.Size]);
        _dirty = false;
    }
}
