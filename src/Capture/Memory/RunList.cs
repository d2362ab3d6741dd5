using System.Collections;

namespace Crstore.Capture.Memory;

/// <summary>
/// A growing list of structs for the frozen path: items are changed in their place, and its first memory is there before the freeze.
/// </summary>
public sealed class RunList<T> : IReadOnlyList<T>
    where T : struct
{
    private T[] _items;
    private int _count;

    /// <summary>An empty list. Its memory is touched now, so that it isn't faulted in during the freeze.</summary>
    /// <param name="capacity">Items before it has to grow.</param>
    public RunList(int capacity = 0)
    {
        _items = new T[capacity];
        Array.Clear(_items);
    }

    /// <inheritdoc/>
    public int Count => _count;

    /// <summary>An item in its place.</summary>
    public ref T this[int index]
    {
        get
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)index, (uint)_count, nameof(index));
            return ref _items[index];
        }
    }

    T IReadOnlyList<T>.this[int index] => this[index];

    /// <summary>Appends an item.</summary>
    public void Add(in T item)
    {
        if (_count == _items.Length) Grow(_count + 1);
        _items[_count++] = item;
    }

    /// <summary>Appends all items of another list.</summary>
    public void AddRange(RunList<T> items)
    {
        if (_count + items._count > _items.Length) Grow(_count + items._count);
        Array.Copy(items._items, 0, _items, _count, items._count);
        _count += items._count;
    }

    /// <summary>Keeps the first items only.</summary>
    public void Truncate(int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)count, (uint)_count, nameof(count));
        _count = count;
    }

    /// <summary>Forgets all items; the room stays.</summary>
    public void Clear() => _count = 0;

    /// <summary>For foreach.</summary>
    public Enumerator GetEnumerator() => new(this);

    IEnumerator<T> IEnumerable<T>.GetEnumerator() => ((IEnumerable<T>)new ArraySegment<T>(_items, 0, _count)).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => ((IEnumerable<T>)this).GetEnumerator();

    private void Grow(int least)
    {
        var larger = new T[Math.Max(least, Math.Max(16, _items.Length * 2))];
        Array.Copy(_items, larger, _count);
        _items = larger;
    }

    /// <summary>Walks the items in order.</summary>
    public struct Enumerator(RunList<T> list)
    {
        private int _at = -1;

        /// <summary>The item it stands at.</summary>
        public readonly ref T Current => ref list._items[_at];

        /// <summary>On to the next one; false behind the last.</summary>
        public bool MoveNext() => ++_at < list._count;
    }
}
