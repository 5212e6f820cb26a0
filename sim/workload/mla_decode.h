// Multi-head latent attention of a few new tokens (DeepSeek-V2 and after), in its absorbed form: all heads share keys
// of rank + rope_dim elements, whose first `rank` are the values too.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device/device.h"
#include "trace/trace.h"

namespace memwall::workload {

struct MlaShape {
    std::int64_t batch, heads, kv;
    std::int64_t rank, rope_dim;
    std::int64_t q;  ///< new tokens of each sequence: more than one in speculative decoding
    trace::Dtype dtype;
    std::int64_t page = 0;  ///< tokens of a page; 0: contiguous. The page table is read either way

    [[nodiscard]] std::int64_t rows() const { return heads * q; }
    [[nodiscard]] std::int64_t key_dim() const { return rank + rope_dim; }
    [[nodiscard]] std::int64_t row_blocks() const;  ///< of 64 queries
    [[nodiscard]] std::int64_t blocks() const;      ///< of 64 tokens of a sequence
};

/// A run of key blocks of one sequence.
struct MlaRun {
    std::int64_t batch, begin, blocks;
    std::int64_t slot = 0;  ///< where its partial result goes, from 1 on; 0: it is the whole sequence
};

/// What FlashMLA's scheduler (get_mla_metadata) gives each of `parts` groups of CTAs: runs of equal cost over all
/// sequences one after another, where each run costs five blocks beside its own.
std::vector<std::vector<MlaRun>> mla_schedule(std::int64_t batch, std::int64_t blocks, std::int64_t parts);

/// What the decode kernel leaves for the one that combines.
struct MlaResults {
    int o;        ///< [batch][row][rank]
    int partial;  ///< [slot][row][rank], fp32
    int lse;      ///< [slot][row]
    int table;    ///< the scheduler's, from which the number of parts is read
};

/// The kernel that adds up the parts of divided sequences.
void append_mla_combine(trace::Trace& trace, const MlaShape& shape, const std::vector<std::vector<MlaRun>>& schedule,
                        const MlaResults& results, const std::string& name);

/// FlashMLA's dense decode for Hopper, and the kernel that combines the parts of a sequence. Adds its tensors.
void append_mla_decode(trace::Trace& trace, const MlaShape& shape, const std::string& name,
                       const device::Device& device);

}  // namespace memwall::workload
