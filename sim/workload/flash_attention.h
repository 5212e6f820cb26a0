// What the kernels of FlashAttention-3 have in common: their tiles, their registers, and the tensors that they pass to
// each other.
#pragma once

#include <cstdint>
#include <string>

#include "workload/ops.h"

namespace memwall::workload {

inline constexpr int kWarpgroupRows = 64;  ///< of queries

struct FlashTile {
    std::int64_t rows, keys;
    bool p_in_smem = false;  ///< the exponentials meet the values from shared memory; else they stay in registers
    [[nodiscard]] int warpgroups() const { return static_cast<int>(rows / kWarpgroupRows); }
    /// Bytes of exponentials in shared memory; 0 where they stay in registers.
    [[nodiscard]] std::int64_t p_bytes(trace::Dtype dtype) const {
        return p_in_smem ? rows * keys * trace::bits_of(dtype) / 8 : 0;
    }
};

/// What a warpgroup does with a tile of keys: its two products, and the passes of the online softmax between them.
struct FlashSteps {
    trace::Step qk, pv, maximum, exponential;
    trace::Step convert, rescale;  ///< of the first tile, and of those after it, which rescale the output as well
};
FlashSteps flash_steps(const AttentionShape& s, const FlashTile& tile);

/// The tile for a head size (hopper/tile_size.h). `short_pages`: smaller than a tile, which the TMA cannot fetch.
FlashTile flash_tile(std::int64_t head_dim, trace::Dtype dtype, bool causal, bool short_pages);

/// A tile that was asked for, or an InputError naming `where`: 64, 128 or 192 rows, at least `rows` of them, and keys
/// in steps of 16 up to 256.
FlashTile checked_tile(const std::string& where, FlashTile tile, std::int64_t rows);

/// Registers that a thread has at launch: as many as one CTA an SM leaves. `consumers`: warpgroups, beside which the
/// producer's is a fourth.
int flash_registers(int consumers);

/// Reads that follow one another before a kernel knows its work: what the scheduler left of a sequence, and its length.
inline constexpr int kFlashLookups = 2;
inline constexpr std::int64_t kSectorBytes = 32;

/// Tensors that its kernels pass to each other, by number in the trace; -1 where there is none.
struct FlashScratch {
    int lengths = -1;          ///< [lookup][batch], a sector each
    int page_table = -1;       ///< [batch][tile, entry]
    int lse = -1;              ///< [split][head][batch], with splits only
    std::int64_t entries = 0;  ///< of the page table that a tile of keys needs; 0: no pages
    /// The read number `lookup` of sequence `batch`.
    [[nodiscard]] trace::Step length(int lookup, const trace::Affine& batch, int ring) const;
    /// The read of the entries of a tile.
    [[nodiscard]] trace::Step pages(const trace::Affine& batch, const trace::Affine& tile, int ring) const;
};

/// Adds the lengths of all sequences and, if they have pages, the table for tiles of `keys`.
FlashScratch add_flash_scratch(trace::Trace& trace, const AttentionShape& s, std::int64_t keys,
                               const std::string& name);

/// The kernel in front of attention over sequences of unequal lengths: works out how each is split. `op`: whose part
/// it is.
void append_flash_schedule(trace::Trace& trace, const AttentionShape& s, const FlashScratch& scratch,
                           const std::string& op, const std::string& name);

}  // namespace memwall::workload
