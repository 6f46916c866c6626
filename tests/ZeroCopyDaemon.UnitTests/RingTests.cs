using CsCheck;
using ZeroCopyDaemon.Memory.Rings;

namespace ZeroCopyDaemon.UnitTests;

public sealed class RingTests
{
    [Fact]
    public void Entries_are_seen_when_published_and_not_before()
    {
        using var memory = new RingMemory(4);
        RingProducer<ulong> producer = memory.Producer();
        RingConsumer<ulong> consumer = memory.Consumer();
        Assert.True(producer.TryWrite(7));
        Assert.True(producer.TryWrite(8));
        Assert.Equal((2, 2), (producer.Free, producer.Unpublished));
        Assert.Equal(0, consumer.Available);
        Assert.False(consumer.TryRead(out _));
        Assert.True(producer.Publish());
        Assert.False(producer.Publish());
        Assert.Equal(2, consumer.Available);
        Assert.True(consumer.TryRead(out ulong first));
        Assert.True(consumer.TryRead(out ulong second));
        Assert.False(consumer.TryRead(out _));
        Assert.Equal((7UL, 8UL), (first, second));
    }

    [Fact]
    public void A_place_is_free_when_retired_and_not_when_read()
    {
        using var memory = new RingMemory(2);
        RingProducer<ulong> producer = memory.Producer();
        RingConsumer<ulong> consumer = memory.Consumer();
        Assert.True(producer.TryWrite(1));
        Assert.True(producer.TryWrite(2));
        Assert.False(producer.TryWrite(3));
        producer.Publish();
        Assert.True(consumer.TryRead(out _));
        Assert.Equal(0, producer.Free);
        Assert.False(producer.HasRoomFor(1));
        Assert.True(consumer.Retire());
        Assert.False(consumer.Retire());
        Assert.True(producer.HasRoomFor(1));
        Assert.False(producer.HasRoomFor(2));
        Assert.True(producer.TryWrite(3));
        Assert.False(producer.TryWrite(4));
        Assert.False(producer.Corrupt);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(8)]
    [InlineData(256)]
    public void Indices_wrap_at_two_to_the_32(int capacity)
    {
        const uint Start = uint.MaxValue - 100;
        using var memory = new RingMemory(capacity, start: Start);
        RingProducer<ulong> producer = memory.Producer();
        RingConsumer<ulong> consumer = memory.Consumer();
        ulong written = 0;
        ulong read = 0;
        while (read < 1000)
        {
            while (producer.TryWrite(written))
            {
                written++;
            }

            Assert.True(producer.Publish());
            while (consumer.TryRead(out ulong entry))
            {
                Assert.Equal(read++, entry);
            }

            Assert.Equal(written, read);
            Assert.True(consumer.Retire());
        }

        Assert.True(memory.Tail < Start);
        Assert.False(producer.Corrupt || consumer.Corrupt);
        memory.CheckGuards();
    }

    [Fact]
    public void A_head_beyond_what_was_published_is_corrupt_for_good()
    {
        using var memory = new RingMemory(4);
        RingProducer<ulong> producer = memory.Producer();
        Assert.True(producer.TryWrite(1));
        Assert.True(producer.TryWrite(2));
        producer.Publish();
        Assert.True(producer.TryWrite(3));
        Assert.True(producer.TryWrite(4));

        // Three and four are written and not published: nobody can have read them.
        memory.Head = 3;
        Assert.False(producer.TryWrite(5));
        Assert.True(producer.Corrupt);
        memory.Head = 2;
        Assert.Equal(0, producer.Free);
        Assert.False(producer.HasRoomFor(1));
        Assert.False(producer.TryWrite(5));
        Assert.True(producer.Corrupt);
    }

    [Fact]
    public void A_head_that_goes_back_is_corrupt()
    {
        using var memory = new RingMemory(2);
        RingProducer<ulong> producer = memory.Producer();
        for (ulong i = 0; i < 2; i++)
        {
            Assert.True(producer.TryWrite(i));
        }

        producer.Publish();
        memory.Head = 2;
        Assert.True(producer.TryWrite(2));
        Assert.True(producer.TryWrite(3));
        producer.Publish();
        memory.Head = 1;
        Assert.Equal(0, producer.Free);
        Assert.True(producer.Corrupt);
    }

    [Theory]
    [InlineData(5u)]
    [InlineData(uint.MaxValue)]
    [InlineData(0x8000_0000u)]
    public void A_tail_out_of_range_is_corrupt_for_good(uint tail)
    {
        using var memory = new RingMemory(4);
        RingConsumer<ulong> consumer = memory.Consumer();
        memory.Tail = tail;
        Assert.Equal(0, consumer.Available);
        Assert.False(consumer.TryRead(out _));
        Assert.True(consumer.Corrupt);
        memory.Tail = 1;
        Assert.False(consumer.TryRead(out _));
        Assert.False(consumer.Retire());
        Assert.True(consumer.Corrupt);
    }

    [Fact]
    public void A_tail_over_places_that_were_not_retired_is_corrupt()
    {
        using var memory = new RingMemory(4);
        RingConsumer<ulong> consumer = memory.Consumer();
        memory.Tail = 4;
        for (int i = 0; i < 4; i++)
        {
            Assert.True(consumer.TryRead(out _));
        }

        // Read, yet not given back: writing there is against the rules.
        memory.Tail = 5;
        Assert.False(consumer.TryRead(out _));
        Assert.True(consumer.Corrupt);
    }

    [Fact]
    public void Whatever_a_peer_writes_into_its_index_nothing_outside_the_ring_is_touched()
    {
        Gen.Select(Gen.Int[0, 5], Gen.UInt, Gen.UInt.Array[1, 40]).Sample(
            (log2, start, garbage) =>
            {
                using var memory = new RingMemory(1 << log2, start: start);
                RingProducer<ulong> producer = memory.Producer();
                RingConsumer<ulong> consumer = memory.Consumer();
                foreach (uint index in garbage)
                {
                    // Half of it near to what would be right, where the mistakes are.
                    uint near = (index & 1) == 0 ? index : start + (index >> 26);
                    memory.Head = near;
                    memory.Tail = near;
                    for (int i = 0; i < memory.Capacity + 2; i++)
                    {
                        bool had = producer.TryWrite(index);
                        Assert.False(had && producer.Corrupt);
                    }

                    Assert.InRange(producer.Free, 0, memory.Capacity);
                    producer.Publish();
                    memory.Tail = near;
                    int read = 0;
                    while (consumer.TryRead(out _))
                    {
                        read++;
                    }

                    Assert.InRange(read, 0, memory.Capacity);
                    consumer.Retire();
                    memory.CheckGuards();
                }
            },
            iter: 2000);
    }

    [Fact]
    public void A_ring_does_what_a_bounded_queue_does()
    {
        Gen.Select(Gen.Int[0, 4], Gen.UInt, Gen.Int[0, 3].Array[0, 200]).Sample(
            (log2, start, operations) =>
            {
                using var memory = new RingMemory(1 << log2, start: start);
                RingProducer<ulong> producer = memory.Producer();
                RingConsumer<ulong> consumer = memory.Consumer();
                var written = new Queue<ulong>();
                var published = new Queue<ulong>();
                int unretired = 0;
                ulong next = 1;
                foreach (int operation in operations)
                {
                    switch (operation)
                    {
                        case 0:
                            bool room = written.Count + published.Count + unretired < memory.Capacity;
                            Assert.Equal(room, producer.TryWrite(next));
                            if (room)
                            {
                                written.Enqueue(next++);
                            }

                            break;
                        case 1:
                            Assert.Equal(written.Count > 0, producer.Publish());
                            while (written.TryDequeue(out ulong entry))
                            {
                                published.Enqueue(entry);
                            }

                            break;
                        case 2:
                            bool any = published.TryDequeue(out ulong expected);
                            Assert.Equal(any, consumer.TryRead(out ulong actual));
                            Assert.Equal(expected, actual);
                            unretired += any ? 1 : 0;
                            break;
                        default:
                            Assert.Equal(unretired > 0, consumer.Retire());
                            unretired = 0;
                            break;
                    }

                    Assert.Equal(written.Count, producer.Unpublished);
                    Assert.Equal(published.Count > 0, consumer.Available > 0);
                    Assert.Equal(written.Count + published.Count + unretired < memory.Capacity, producer.Free > 0);
                }

                Assert.False(producer.Corrupt || consumer.Corrupt);
                memory.CheckGuards();
            },
            iter: 3000);
    }

    [Fact]
    public void Ten_million_entries_pass_between_two_threads_in_order()
    {
        const ulong Entries = 10_000_000;
        using var memory = new RingMemory(256, start: uint.MaxValue - 1_000_000);
        RingProducer<ulong> producer = memory.Producer();
        RingConsumer<ulong> consumer = memory.Consumer();
        var writer = new Thread(() =>
        {
            var spin = default(SpinWait);
            for (ulong i = 0; i < Entries;)
            {
                // Batches of all sizes, so that publishing meets every state of the ring.
                ulong batch = 1 + ((i * 7) % 48);
                while (batch-- > 0 && i < Entries && producer.TryWrite(i * 0x9E37_79B9_7F4A_7C15))
                {
                    i++;
                }

                if (!producer.Publish())
                {
                    spin.SpinOnce(sleep1Threshold: -1);
                }
            }
        });
        writer.Start();
        ulong read = 0;
        ulong wrong = 0;
        var idle = default(SpinWait);
        while (read < Entries)
        {
            if (consumer.TryRead(out ulong entry))
            {
                wrong += entry == read * 0x9E37_79B9_7F4A_7C15 ? 0UL : 1;
                read++;
                if (read % 32 == 0)
                {
                    consumer.Retire();
                }
            }
            else if (!consumer.Retire())
            {
                idle.SpinOnce(sleep1Threshold: -1);
            }
        }

        writer.Join();
        Assert.Equal((0UL, Entries), (wrong, read));
        Assert.False(producer.Corrupt || consumer.Corrupt);
    }

    [Fact]
    public void The_data_path_of_a_ring_allocates_nothing()
    {
        using var memory = new RingMemory(16);
        RingProducer<ulong> producer = memory.Producer();
        RingConsumer<ulong> consumer = memory.Consumer();
        PassThrough(producer, consumer, 10);
        long before = GC.GetAllocatedBytesForCurrentThread();
        PassThrough(producer, consumer, 10_000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public unsafe void A_ring_refuses_what_it_could_not_work_with()
    {
        using var memory = new RingMemory(4);
        Assert.Throws<ArgumentOutOfRangeException>(() => new RingProducer<ulong>(memory.Entries, 3, memory.TailAddress, memory.HeadAddress));
        Assert.Throws<ArgumentOutOfRangeException>(() => new RingConsumer<ulong>(memory.Entries, 0, memory.HeadAddress, memory.TailAddress));
        Assert.Throws<ArgumentException>(() => new RingConsumer<ulong>(null, 4, memory.HeadAddress, memory.TailAddress));
        Assert.Throws<ArgumentException>(() => new RingProducer<ulong>(memory.Entries, 4, memory.TailAddress + 2, memory.HeadAddress));
    }

    private static void PassThrough(RingProducer<ulong> producer, RingConsumer<ulong> consumer, int rounds)
    {
        for (int round = 0; round < rounds; round++)
        {
            while (producer.TryWrite(1))
            {
            }

            producer.Publish();
            while (consumer.TryRead(out _))
            {
            }

            consumer.Retire();
        }
    }
}
