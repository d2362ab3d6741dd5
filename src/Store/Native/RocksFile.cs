namespace Crstore.Store.Native;

/// <summary>A table file.</summary>
/// <param name="Family">Whose.</param>
/// <param name="Name">Its name, with a slash in front, within the database's directory.</param>
/// <param name="SizeBytes">Size.</param>
/// <param name="Smallest">First key.</param>
/// <param name="Largest">Last key.</param>
internal sealed record RocksFile(ColumnFamily Family, string Name, ulong SizeBytes, byte[] Smallest, byte[] Largest);
