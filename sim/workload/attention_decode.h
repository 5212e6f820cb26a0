// The two ways in which attention of one new token is cut, and the kernel with which either ends.
#pragma once

#include <string>

#include "workload/ops.h"

namespace memwall::workload {

// Work items of a decode: their dimensions.
inline constexpr int kDecodeBatch = 0, kDecodeKvHead = 1, kDecodeSplit = 2;

/// What a decode computes and must move, whatever its kernel does.
void count_decode(trace::Kernel& kernel, const AttentionShape& shape);

/// The combine: weighs the partial outputs of each head.
void append_combine(trace::Trace& trace, const AttentionShape& shape, std::int64_t splits,
                    const AttentionTensors& tensors, const std::string& name);

/// How FlashAttention-3's decode is run.
struct FlashDecode {
    bool overlap = true;            ///< the next tile's scores beside this one's values (IntraWGOverlap)
    bool schedule_in_call = false;  ///< the kernel that schedules sequences of any length runs in each call (its Python
                                    ///< API), not ahead of all layers (vLLM)
};

/// How many ways FlashAttention-3 splits the KV, by its rule for batches of sequences of any length.
std::int64_t flash_decode_splits(const AttentionShape& shape, const ScheduleWish& wish, const device::Device& device);

/// FlashAttention-3's: the queries of a group in the first rows of a product, as in prefill.
void append_flash_decode(trace::Trace& trace, const AttentionShape& shape, const FlashDecode& how,
                         const AttentionTensors& tensors, const ScheduleWish& wish, const std::string& name,
                         const device::Device& device);

/// Reads that follow one another before a kernel of FlashAttention-3 knows its work: what the scheduler left of a
/// sequence, and its length.
inline constexpr int kFlashLookups = 2;
inline constexpr std::int64_t kSectorBytes = 32;

/// Tensors that its kernels pass to each other, by number in the trace.
struct FlashScratch {
    int lengths;          ///< [lookup][batch], a sector each
    int page_table = -1;  ///< without pages: none
    int lse = -1;         ///< [split][head][batch], without splits: none
    /// The read number `lookup` of sequence `batch`.
    [[nodiscard]] trace::Step read(int lookup, const trace::Affine& batch, int ring) const;
};

/// The kernel before: from the lengths of all sequences, how each is split.
void append_flash_schedule(trace::Trace& trace, const AttentionShape& shape, const FlashScratch& scratch,
                           const std::string& name);
/// The kernel after: weighs the partial outputs of each head. Launched whether anything was split or not.
void append_flash_combine(trace::Trace& trace, const AttentionShape& shape, std::int64_t splits,
                          const AttentionTensors& tensors, const FlashScratch& scratch, const std::string& name);

}  // namespace memwall::workload
