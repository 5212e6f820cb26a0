// The two ways in which attention of one new token is cut, and the kernel that ends FlashAttention-3's.
#pragma once

#include <string>

#include "workload/flash_attention.h"
#include "workload/ops.h"

namespace memwall::workload {

// Work items of a decode: their dimensions.
inline constexpr int kDecodeBatch = 0, kDecodeKvHead = 1, kDecodeSplit = 2;

/// What a decode computes and must move, whatever its kernel does.
void count_decode(trace::Kernel& kernel, const AttentionShape& shape);

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

/// The kernel after: weighs the partial outputs of each head. Launched whether anything was split or not.
void append_flash_combine(trace::Trace& trace, const AttentionShape& shape, std::int64_t splits,
                          const AttentionTensors& tensors, const FlashScratch& scratch, const std::string& name);

}  // namespace memwall::workload
