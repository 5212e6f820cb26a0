// Transfers between an SM and L2: a box of a tensor, walked piece by piece by an engine (the TMA, the load/store unit, the
// store path), each with a pace and a bounded number of bytes on their way.
#pragma once

#include <array>
#include <cstdint>
#include "base/ring_queue.h"

#include "chip/chunk.h"
#include "trace/trace.h"

namespace memwall::chip {

/// Walks the contiguous runs of a box: dimensions that lie next to each other in memory are merged first.
class BoxWalk {
public:
    /// `origin` may lie beyond the tensor's edge: the box is clipped, and may be empty.
    BoxWalk() = default;
    BoxWalk(const trace::Tensor& tensor, const std::array<std::int64_t, trace::kMaxRank>& origin, const trace::Extents& box);

    [[nodiscard]] std::int64_t bytes() const { return bytes_; }
    [[nodiscard]] bool done() const { return left_ == 0; }
    /// The next contiguous piece, which ends where the run or a granule of `granule` bytes ends.
    struct Piece {
        std::uint64_t address;
        std::uint32_t bytes;
    };
    Piece next(std::uint64_t granule);
    /// Puts back the piece that `next` has just returned.
    void undo() {
        offset_ = last_offset_;
        left_ += last_bytes_;
        index_ = last_index_;
    }

private:
    [[nodiscard]] std::uint64_t run_address() const;

    const trace::Tensor* tensor_ = nullptr;
    std::array<std::int64_t, trace::kMaxRank> origin_{}, count_{}, index_{}, last_index_{};
    int dims_ = 0;               // outer dimensions that are walked
    std::int64_t run_bytes_ = 0;
    std::int64_t inner_offset_bytes_ = 0;
    std::int64_t offset_ = 0, last_offset_ = 0;  // in the current run
    std::int64_t last_bytes_ = 0;
    std::int64_t bytes_ = 0, left_ = 0;
};

struct Transfer {
    BoxWalk walk;
    Access access;
    bool plain;
    std::uint8_t policy;
    std::uint8_t cta, ring, stage, role;
    std::int64_t ready_ps;      ///< not before
    double setup_ps;            ///< the engine's front end, once per command
    double delay_ps;            ///< pipeline before each request leaves
    std::uint8_t copies;
    std::uint32_t cluster;
    std::uint16_t multicast_base, multicast_stride;
};

/// Works off transfers in order.
struct Engine {
    RingQueue<Transfer> queue;
    bool set_up = false;         ///< the first of the queue has passed the front end
    double free_ps = 0;          ///< when it can make its next request
    double ps_per_line = 0;
    double ps_per_byte = 0;
    bool by_lines = true;        ///< what the limit counts
    int in_flight = 0;
    int limit = 0;

    [[nodiscard]] int cost(const Chunk& chunk) const { return by_lines ? chunk.lines : chunk.bytes; }
};

}  // namespace memwall::chip
