// Transfers between an SM and L2: a box of a tensor, walked piece by piece by an engine (the TMA, the load/store unit,
// the store path), each with a pace and a bounded number of bytes on their way.
#pragma once

#include <array>
#include <cstdint>

#include "base/ring_queue.h"
#include "chip/chunk.h"
#include "trace/trace.h"

namespace memwall::chip {

/// Walks the contiguous runs of a box, piece by piece: a piece ends where its run or a granule ends: of the address
/// map, or what one instruction of a warp reaches. Dimensions that lie next to each other in memory are merged into one
/// run first.
class BoxWalk {
public:
    struct Piece {
        std::uint64_t address;
        std::uint32_t bytes;
    };

    BoxWalk() = default;
    /// `origin` may lie beyond the tensor's edge: the box is clipped, and may be empty. `granule` is a power of two.
    BoxWalk(const trace::Tensor& tensor, const std::array<std::int64_t, trace::kMaxRank>& origin,
            const trace::Extents& box, std::uint32_t granule);

    /// Of the whole box.
    [[nodiscard]] std::int64_t bytes() const { return bytes_; }
    [[nodiscard]] bool done() const { return left_ == 0; }
    /// The piece at which the walk stands, unless it is done.
    [[nodiscard]] const Piece& piece() const { return piece_; }
    void advance() {
        left_ -= piece_.bytes;
        run_left_ -= piece_.bytes;
        piece_.address += piece_.bytes;
        if (run_left_ == 0 && left_ != 0) next_run();
        cut_piece();
    }

private:
    [[nodiscard]] std::uint64_t run_address() const;
    void next_run();
    void cut_piece() {
        const std::uint32_t to_granule = granule_ - (static_cast<std::uint32_t>(piece_.address) & (granule_ - 1));
        piece_.bytes = run_left_ < to_granule ? static_cast<std::uint32_t>(run_left_) : to_granule;
    }

    const trace::Tensor* tensor_ = nullptr;
    std::array<std::int64_t, trace::kMaxRank> origin_{}, count_{}, index_{};
    int dims_ = 0;  // outer dimensions that are walked
    std::uint32_t granule_ = 0;
    std::int64_t run_bytes_ = 0, run_left_ = 0;
    std::int64_t inner_offset_bytes_ = 0;
    std::uint64_t run_begin_ = 0;
    std::int64_t bytes_ = 0, left_ = 0;
    Piece piece_{};
};

struct Transfer {
    BoxWalk walk;
    Chunk chunk;            ///< what all its chunks have in common
    std::int64_t ready_ps;  ///< not before
    double setup_ps;        ///< the engine's front end, once per command
    double delay_ps;        ///< pipeline before each request leaves
};

/// Works off transfers in order.
struct Engine {
    RingQueue<Transfer> queue;
    bool set_up = false;  ///< the first of the queue has passed the front end
    double free_ps = 0;   ///< when it can make its next request
    double ps_per_line = 0;
    double ps_per_byte = 0;
    bool by_lines = true;  ///< what the limit counts
    int in_flight = 0;
    int limit = 0;

    [[nodiscard]] int cost(const Chunk& chunk) const { return by_lines ? chunk.lines : chunk.bytes; }
};

}  // namespace memwall::chip
