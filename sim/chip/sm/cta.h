// The state of a CTA in its slot of an SM: its roles (threads of control), and the rings of stages at which they meet.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "chip/chunk.h"
#include "trace/trace.h"

namespace memwall::chip {

inline constexpr int kMaxRings = 10;
inline constexpr std::uint8_t kChaseRing = 15;  ///< a chunk's ring when a dependent load waits for it, not a stage
inline constexpr int kMaxStages = 32;

/// CTA slots of an SM: more than can be resident, because a CTA that has exited keeps its slot until its stores
/// arrived.
inline constexpr int kSlots = 96;

/// Why a role does not run.
enum class Wait : std::uint8_t {
    none,
    start,
    empty,
    full,
    mma,
    vector,
    stores,
    reads,
    cta_barrier,
    cluster_barrier,
    dependency,
    chase,
    work,
    signal,
    done
};

/// One stage of a ring. Generations count how often the ring has come round: the k-th fill uses stage k mod S.
struct Stage {
    std::int64_t expected = 0, arrived = 0;  ///< bytes
    std::int64_t generation = -1;            ///< of the last acquire
    std::int64_t full_generation = -1;
    std::int64_t full_ps = 0;   ///< when its last byte had landed
    std::int32_t releases = 0;  ///< of all consumers, those of multicast peers included
    std::int32_t local_releases = 0;
    bool committed = false;
    // For the timeline alone, of watched SMs.
    std::int64_t issued_ps = 0;  ///< when the first of its loads was ordered
    std::int64_t seen_ps = 0;    ///< when the first consumer's wait returned
    std::array<int, 4> tile{};   ///< whose
};

struct RingState {
    int stages = 1;
    int consumers = 1;
    int local_consumers = 1;
    std::vector<Stage> stage;
};

/// A role's place in a ring.
struct Cursor {
    std::int64_t acquired = 0, committed = 0, consumed = 0, released = 0;
};

struct RoleState {
    std::uint8_t role = 0, instance = 0;
    Wait wait = Wait::none;
    std::uint8_t wait_ring = 0;
    std::int16_t depth = 0;
    std::uint16_t pc = 0;
    std::int32_t allowance = 0;  ///< of wait_mma
    std::int32_t mma_in_flight = 0;
    std::int32_t stores_in_flight = 0;  ///< chunks
    std::int32_t stores_unread = 0;     ///< store steps with pieces still to leave the SM
    std::int64_t stores_read_ps = 0;    ///< when the last piece of one that has none left did
    std::int64_t wait_since_ps = 0;
    std::int64_t item = 0;  ///< work item in progress
    std::size_t begun = 0;  ///< items, where the CTA takes them one by one
    std::array<std::int64_t, trace::kVars> vars{};
    std::array<std::int64_t, trace::kLoopDepth> trips{};
    std::array<Cursor, kMaxRings> cursor{};
    // A chase in progress.
    std::int64_t chase_done = 0;
    std::int64_t chase_began_ps = 0;
};

struct Cta {
    static constexpr std::int64_t kNoItem = -1;
    bool live = false;
    bool exited = false;     ///< roles done; stores may still be on their way
    bool triggered = false;  ///< let the next kernel begin, as far as it is concerned
    std::uint32_t kernel = 0;
    std::int64_t index = 0;  ///< in the grid
    std::uint32_t cluster = kNone;
    int rank = 0;
    int roles_left = 0;
    int at_barrier = 0;
    std::int32_t stores_in_flight = 0;
    std::int64_t began_ps = 0;
    bool taking = false;              ///< asked for the next item
    std::vector<std::int64_t> taken;  ///< items of a dynamic kernel, in order; kNoItem: there are no more
    std::vector<RoleState> roles;
    std::array<RingState, kMaxRings> rings;
};

/// Where the CTAs of a launched cluster are. Written when it is launched, read by all its SMs.
struct ClusterRecord {
    static constexpr int kMaxCtas = 16;
    std::array<std::uint16_t, kMaxCtas> sm{};
    std::array<std::uint8_t, kMaxCtas> slot{};
    int ctas = 0;
    int arrived = 0;  ///< at the cluster barrier; counted by rank 0's SM
    int live = 0;
};

}  // namespace memwall::chip
