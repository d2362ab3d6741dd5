using Crstore.Store.Reading;
using Crstore.Tests.Support;
using Xunit;

namespace Crstore.Store.Tests.Stores;

public sealed class StoredOrderTests
{
    [Theory]
    [InlineData(1UL, 1U, 0UL)]
    [InlineData(1UL, 5000U, 0UL)]              // one capture's frames, in digits of more than one pass
    [InlineData(1000UL, 12U, 0UL)]             // a chain's patch groups
    [InlineData(3UL, 4096U, 0UL)]
    [InlineData(5UL, uint.MaxValue, ulong.MaxValue - 5)]
    [InlineData(ulong.MaxValue, uint.MaxValue, 0UL)]
    public void Items_come_by_crid_and_number_and_those_of_one_place_as_they_were(ulong crids, uint numbers, ulong firstCrid)
    {
        var random = Seeds.Random();
        foreach (var count in new[] { 2, 3, 100, 5000 })
        {
            var (ofCrids, ofNumbers) = (new ulong[count + 10], new uint[count + 10]); // room that isn't used has no say
            for (var i = 0; i < count; i++)
            {
                var again = i > 0 && random.Next(3) > 0; // neighbours in one place
                ofCrids[i] = again ? ofCrids[i - 1] : firstCrid + (ulong)(random.NextDouble() * crids);
                ofNumbers[i] = again ? ofNumbers[i - 1] : (uint)random.NextInt64(numbers);
            }

            var expected = Enumerable.Range(0, count).OrderBy(i => ofCrids[i]).ThenBy(i => ofNumbers[i]).ToArray(); // stable
            Assert.Equal(expected, StoredOrder.Of(ofCrids, ofNumbers, count) ?? [.. Enumerable.Range(0, count)]);
        }
    }

    [Fact]
    public void What_is_in_order_needs_none() => Assert.Null(StoredOrder.Of([1, 1, 1, 2], [0, 0, 7, 3], 4));
}
