// One of the two L2 partitions, with its slices and its end of the link to the other.
//
// Measured on Hopper: an SM reads only its own half. A line whose home (the half beside its memory channel) is the
// other half is fetched over the link and copied into the reader's half, so that shared data occupies both: a plain 50
// MB cache cannot show the knees at 25 MB. The home keeps its line as well; it knows that a copy exists and withdraws
// it when the line is written. Writes go to the home.
//
// A slice passes look-ups at a fixed rate, answers hits after its pipeline, merges misses to a line on its way, and
// holds dirty sectors until they are evicted. A slice whose evictions pile up in front of memory stops accepting
// requests.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/divisor.h"
#include "base/observations.h"
#include "base/ring_queue.h"
#include "chip/l2/tags.h"
#include "chip/wiring.h"

namespace memwall::chip {

class Crossbar;
class HbmStack;

/// Sectors of one granule on their way into a slice, from memory or from the other partition.
struct Fill {
    std::uint64_t sectors;         ///< asked for
    std::uint64_t ways;            ///< four bits per line of the granule
    std::uint32_t row;             ///< granule within the slice
    std::uint32_t first_asker;     ///< whose look-up made it
    std::uint32_t more_askers;     ///< list of Asker
    std::uint32_t next, previous;  ///< in its slice's list of fills: a row may have one for each line
    std::uint16_t slice;
    std::uint16_t lines;   ///< which lines of the granule it fills; none: its sectors pass without being kept
    std::uint8_t runs;     ///< DRAM runs that have not come back
    std::uint8_t waiting;  ///< at its home: fills that it waits for there (far fills are askers too)
    std::uint8_t policy;
    bool far;  ///< its home is the other partition
    bool replay;
    std::int32_t hbm_ps, interposer_ps, link_ps;
};

/// One that waits for a fill: a chunk, or a far fill of the other partition (kFarFill set).
struct Asker {
    static constexpr std::uint32_t kFarFill = 1U << 31;
    std::uint32_t who;
    std::uint32_t next;
};

/// A run of bursts in one page of one pseudo-channel.
struct DramRun {
    std::uint32_t fill;  ///< kNone for a write
    std::uint32_t page;
    std::uint16_t first_burst, bursts;
    std::uint16_t slice;
    std::uint8_t channel;  ///< of the slice
    bool write;
    std::int64_t entered_ps;
};

/// Pools that the two partitions and the stacks share.
struct MemoryPools {
    Pool<Fill> fills{1 << 13};
    Pool<Asker> askers{1 << 13};
    Pool<DramRun> runs{1 << 14};
};

class L2Partition : public PartOf<L2Partition> {
public:
    enum Kind : std::uint32_t {
        request,    ///< chunk, from the crossbar
        far_read,   ///< fill of the other partition, which asks its home
        far_write,  ///< chunk of the other partition's SMs that writes a line homed here
        far_data,   ///< fill, answered by its home
        far_ack,    ///< chunk, written at its home
        dram_done,  ///< run
        withdraw    ///< payload row, arg slice index << 16 | lines: a copy is no longer valid
    };

    L2Partition(const sc_core::sc_module_name& name, Shared& shared, MemoryPools& pools, int half, std::uint32_t id);
    /// Before the first message: so much of the cache, 0 to 1, holds dirty lines of data that nobody will ask for.
    void soil(double share);
    void connect(Crossbar& crossbar, L2Partition& other, const std::vector<HbmStack*>& stacks);

    void handle(const Message& message);
    void prefetch(const WaitingMessage& message, int stage) const;

    /// Look-ups count while they are made, not when they are queued.
    [[nodiscard]] Counters counters(std::int64_t now_ps) const;
    [[nodiscard]] const std::vector<PartTraffic>& traffic() const { return traffic_; }
    /// Throws ModelError unless everything that entered has left.
    void check_empty() const;
    /// Chunks inside, and of these waiting behind a full write-back queue: for the report of a deadlock.
    [[nodiscard]] std::string describe_held() const;

private:
    static constexpr int kFillBucketBits = 8;
    /// Rows of a matrix lie apart by powers of two: their low bits say little (Fibonacci hashing).
    static std::size_t fill_bucket(std::uint32_t row) { return row * 0x9E3779B1U >> (32 - kFillBucketBits); }
    struct Slice {
        Slice(int sets, int ways, Replacement replacement) : tags(sets, ways, replacement) { fills.fill(kNone); }
        TagStore tags;
        Server lookups;                                                      // tag pipeline
        Server out;                                                          // data port to the crossbar
        int writes_in_flight = 0;                                            // bursts that memory has not yet taken
        RingQueue<std::uint32_t> stalled;                                    // chunks behind a full write-back queue
        std::array<std::uint32_t, std::size_t{1} << kFillBucketBits> fills;  // those on their way, by row
    };
    /// What a look-up found.
    struct Lookup {
        int waits = 0;  ///< fills that the asker now waits for
        bool replay = false;
        std::uint64_t hit = 0;  ///< sectors found, or on their way for another
    };

    // Requests.
    void accept(std::uint32_t chunk, std::int64_t now_ps);
    void read(std::uint32_t chunk, std::int64_t begun_ps);
    void write(std::uint32_t chunk, std::int64_t begun_ps);
    void write_home(std::uint32_t chunk, std::size_t slice, std::int64_t begun_ps);
    void accept_far_read(std::uint32_t fill, std::int64_t now_ps, bool replayed);
    void accept_far_write(std::uint32_t chunk, std::int64_t now_ps);
    // Look-up and allocation.
    Lookup look_up(std::size_t slice, std::uint32_t row, bool far, std::uint64_t sectors, std::uint32_t who, int policy,
                   std::int64_t ready_ps);
    int allocate(std::size_t slice, std::size_t line, std::uint32_t row, bool far, int policy, std::int64_t now_ps);
    [[nodiscard]] std::uint32_t find_fill(std::size_t slice, std::uint32_t row, bool far, std::size_t line) const;
    struct FillTarget {
        std::size_t slice;
        std::uint32_t row;
        bool far;
        int policy;
    };
    /// Starts a fill of `lines` of the granule (none: the sectors pass without being kept); returns 1, the wait it
    /// makes.
    int start_fill(const FillTarget& target, std::uint64_t sectors, unsigned lines, std::uint64_t ways,
                   std::uint32_t who, std::int64_t ready_ps);
    void add_fill(std::size_t slice, std::uint32_t fill);
    void remove_fill(const Fill& fill);
    void flush_victim(std::size_t slice, std::int64_t now_ps);
    void mark_written(std::size_t slice, std::uint32_t row, std::uint64_t sectors, int policy, std::int64_t now_ps);
    void withdraw_copy(std::size_t slice, std::uint32_t row, unsigned lines);
    // Fills.
    void fetch(std::uint32_t fill, std::int64_t ready_ps);
    void finish_run(std::uint32_t run, std::int64_t now_ps);
    void finish_fill(std::uint32_t fill, std::int64_t ready_ps);
    void wake_asker(std::uint32_t who, const Fill& fill, std::int64_t ready_ps);
    void add_asker(std::uint32_t fill, std::uint32_t who);
    // Memory side.
    void issue_runs(std::size_t slice, std::uint32_t row, std::uint64_t sectors, std::uint32_t fill,
                    std::int64_t ready_ps);
    void send_run(std::size_t slice, std::uint32_t run, std::int64_t ready_ps);
    // Answers.
    void answer(std::uint32_t chunk, std::int64_t ready_ps);
    void note_wait(Chunk& chunk, const Fill& fill, std::int64_t until_ps);
    [[nodiscard]] std::uint64_t sectors_of(const Chunk& chunk) const {
        return wiring_.map.sectors(chunk.address, chunk.bytes);
    }
    void answer_far(std::uint32_t fill, std::int64_t ready_ps);
    void finish_reduce(std::uint32_t chunk, std::int64_t ready_ps);
    std::int64_t look_up_begins(Slice& slice, int accesses, std::int64_t now_ps);
    /// How often a slice is accessed for `chunk`: once a line, and, at the home of what it writes, once more for the
    /// line at either end if only a part of a sector is written there. The code that protects a sector covers all of
    /// it, so that it is read, merged and written back.
    [[nodiscard]] int accesses_of(const Chunk& chunk) const;

    [[nodiscard]] std::size_t set_of(std::uint32_t row, int line) const {
        return static_cast<std::size_t>(groups_.remainder(row)) * lines_per_granule_ + static_cast<std::size_t>(line);
    }
    /// What tells the rows of one set apart.
    [[nodiscard]] std::uint16_t tag_of(std::uint32_t row) const {
        return static_cast<std::uint16_t>(groups_.quotient(row));
    }
    [[nodiscard]] int sector_count(std::uint64_t sectors) const { return __builtin_popcountll(sectors); }

    Shared& shared_;
    Wiring& wiring_;
    MemoryPools& pools_;
    const int half_;
    Crossbar* crossbar_ = nullptr;
    L2Partition* other_ = nullptr;
    std::vector<HbmStack*> stacks_;

    std::vector<Slice> slices_;
    std::vector<int> slice_numbers_;  // chip-wide
    Server link_out_;
    Divisor groups_;
    std::size_t lines_per_granule_;
    int line_shift_;        // sectors to a line, as a shift
    unsigned sector_mask_;  // of one line
    int sector_bytes_;
    std::int64_t hit_ps_, miss_ps_, fill_ps_, replay_ps_;
    double lookup_ps_;
    double header_bytes_;
    // What memory sends for the sectors of a line that are wanted: it is read in granules of `fill_bytes`.
    std::array<std::uint8_t, TagStore::kSectors + 1> fetched_;
    unsigned pieces_;   // of a granule, over the slice's channels in turn
    Divisor channels_;  // of the slice
    int write_limit_;   // bursts that a slice may have on their way to memory

    // The victim that is being gathered: lines of one granule leave as one write.
    std::uint32_t victim_row_ = 0;
    std::uint64_t victim_sectors_ = 0;

    std::uint64_t chunks_in_ = 0, chunks_out_ = 0;
    std::vector<PartTraffic> traffic_;
    Counters counters_;
};

}  // namespace memwall::chip
