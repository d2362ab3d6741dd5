namespace Crstore.Store.Native;

/// <summary>A table file.</summary>
/// <param name="Family">Whose.</param>
/// <param name="SizeBytes">Size.</param>
/// <param name="Smallest">First key.</param>
/// <param name="Largest">Last key.</param>
internal sealed record RocksFile(ColumnFamily Family, ulong SizeBytes, byte[] Smallest, byte[] Largest);
