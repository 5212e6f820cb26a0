// What travels: a chunk is a run of consecutive bytes that share one L2 slice and one granule of the address interleave
// (1 KiB on Hopper's map), so that no decision of the memory system can tell its lines apart. A strided access makes
// chunks as small as one sector. Chunks live in one flat pool and are passed by index.
#pragma once

#include <cstdint>
#include <vector>

namespace memwall::chip {

inline constexpr std::uint32_t kNone = 0xFFFFFFFF;

enum class Access : std::uint8_t { read, write, reduce };

struct alignas(64) Chunk {
    std::uint64_t address;  ///< of the first byte
    std::uint64_t sectors;  ///< which 32-byte sectors of the granule (bit per sector, up to 64)
    std::int64_t entered_ps;  ///< the room where it is now
    std::uint32_t next;       ///< list link of the queue in which it waits
    std::uint32_t followers;  ///< chunks that joined it in the coalescer
    std::uint32_t cluster;    ///< multicast: the cluster whose CTAs all receive it
    // Where it belongs in its SM: CTA slot, ring and generation of the stage (see sm/cta.h), the role that stores it.
    std::uint32_t generation;
    std::uint8_t cta, ring, role;
    std::uint8_t lines;     ///< 128-byte requests that it stands for
    std::uint16_t bytes;    ///< useful bytes asked for
    std::uint8_t sm;        ///< who asked
    std::uint8_t slice;     ///< slice of the asker's partition that serves it
    Access access;
    std::uint8_t waiting;   ///< fills that it still waits for in a slice
    std::uint8_t copies;    ///< SMs it is delivered to (multicast)
    std::uint8_t multicast_base : 4, multicast_stride : 4;  ///< ranks base + i * stride
    std::uint8_t policy : 4;  ///< trace::CachePolicy
    bool far : 1;             ///< its home is the other partition
    bool plain : 1;           ///< plain load or store; else by the TMA
    bool replay : 1;          ///< must look up again when its fills are done
    // What it spent in the rooms before, in steps of 64 ps (to 4.2 us each): the tile's lifetime.
    std::uint16_t hbm, interposer, l2, link, crossbar;
};
static_assert(sizeof(Chunk) == 64);

inline constexpr int kLifetimeShift = 6;
inline std::uint16_t lifetime_steps(std::int64_t ps) {
    const std::int64_t steps = ps >> kLifetimeShift;
    return static_cast<std::uint16_t>(steps < 0 ? 0 : steps > 0xFFFF ? 0xFFFF : steps);
}

/// A flat pool with a free list. References stay valid until the next `take`.
template <class Item>
class Pool {
public:
    explicit Pool(std::size_t reserve) { items_.reserve(reserve); }
    std::uint32_t take() {
        ++in_use_;
        if (!free_.empty()) {
            const std::uint32_t index = free_.back();
            free_.pop_back();
            return index;
        }
        items_.emplace_back();
        return static_cast<std::uint32_t>(items_.size() - 1);
    }
    void give_back(std::uint32_t index) {
        --in_use_;
        free_.push_back(index);
    }
    Item& operator[](std::uint32_t index) { return items_[index]; }
    const Item& operator[](std::uint32_t index) const { return items_[index]; }
    void prefetch(std::uint32_t index) const {
        __builtin_prefetch(&items_[index]);
        if constexpr (sizeof(Item) > 64) __builtin_prefetch(reinterpret_cast<const char*>(&items_[index]) + 64);
    }
    [[nodiscard]] std::size_t in_use() const { return in_use_; }

private:
    std::vector<Item> items_;
    std::vector<std::uint32_t> free_;
    std::size_t in_use_ = 0;
};

using ChunkPool = Pool<Chunk>;

/// A first-in-first-out list of pool items that link through a `next` field.
struct Fifo {
    std::uint32_t head = kNone, tail = kNone;

    [[nodiscard]] bool empty() const { return head == kNone; }
    template <class P>
    void push(P& pool, std::uint32_t index) {
        pool[index].next = kNone;
        if (empty()) {
            head = index;
        } else {
            pool[tail].next = index;
        }
        tail = index;
    }
    template <class P>
    std::uint32_t pop(P& pool) {
        const std::uint32_t index = head;
        head = pool[index].next;
        if (head == kNone) tail = kNone;
        return index;
    }
};

/// A port, a bus, a pipeline: something that passes one thing after another at a fixed rate. Reserving is all that a
/// queue in front of it does, since it serves in order of arrival.
struct Server {
    double free_ps = 0;

    /// Passes work of `duration_ps` that arrives at `at_ps`; returns when it begins.
    double reserve(double at_ps, double duration_ps) {
        const double begin = at_ps > free_ps ? at_ps : free_ps;
        free_ps = begin + duration_ps;
        return begin;
    }
};

}  // namespace memwall::chip
