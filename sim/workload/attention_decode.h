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

/// How many ways FlashAttention-3 splits the KV, by its rule for batches of sequences of any length.
std::int64_t flash_decode_splits(const AttentionShape& shape, const ScheduleWish& wish, const device::Device& device);

/// FlashAttention-3's: the queries of a group in the 64 rows of a product, as in prefill.
void append_flash_decode(trace::Trace& trace, const AttentionShape& shape, const AttentionTensors& tensors,
                         const ScheduleWish& wish, const std::string& name, const device::Device& device);

}  // namespace memwall::workload
