// Attention with tiles kept on chip. Decode: one query token per sequence over a KV cache, split over the keys, then
// combined. Prefill: many query tokens, online softmax, optionally causal. bf16 in and out, fp32 inside.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <string>

#include "host.h"

namespace memwall::kernels {

struct TileLog;  // recorder.h

/// Decode. Query head h reads KV head h / (heads / kv_heads).
struct DecodeProblem {
    int batch, heads, kv_heads, kv, head_dim;  ///< head_dim 64 or 128; heads / kv_heads 1 to 8
    const void* q;                             ///< [batch] rows of heads * head_dim bf16
    std::int64_t q_stride = 0;                 ///< elements from one row of q to the next; 0: heads * head_dim
    const void* k;  ///< contiguous: [batch][kv_heads][kv][head_dim]; paged: [page slot][kv_heads][page][head_dim]
    const void* v;  ///< as k
    int page = 0;   ///< keys per page: 0 (contiguous), 16, 32, 64, 128
    const int* pages = nullptr;  ///< paged: [batch][ceil(kv / page)] page slots
    int page_slots = 0;          ///< paged: slots in the pool
    void* o;                     ///< [batch][heads][head_dim] bf16
};

struct DecodeSchedule {
    int tile = 64;    ///< keys per step: 64 or 128
    int stages = 3;   ///< ring depth, K and V of a step together: 1 to 8
    int split = 1;    ///< parts of the keys
    bool tma = true;  ///< boxes by TMA (paged: one per page), else plain 16-byte loads with cp.async
};

[[nodiscard]] std::string decode_refusal(const DecodeProblem& problem, const DecodeSchedule& schedule);
/// FlashAttention's rule for the number of splits, with two CTAs on an SM.
[[nodiscard]] int decode_splits(int units, int kv, int sms);

class DecodePlan {
public:
    /// Throws CudaError when decode_refusal has a reason.
    DecodePlan(const DecodeProblem& problem, const DecodeSchedule& schedule, const TileLog* log = nullptr);
    /// The attention kernel, and the combine when split.
    void launch(cudaStream_t stream, bool dependent = false) const;
    [[nodiscard]] int ctas() const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

/// Prefill. Rows of q, k, v and o are tokens; a head is head_dim consecutive elements of a row, so that a packed qkv
/// row can be read in place: strides are given in elements.
struct PrefillProblem {
    int batch, heads, kv_heads, q_tokens, kv_tokens, head_dim;  ///< head_dim 64 or 128
    bool causal;                                                ///< query i sees keys up to i + kv_tokens - q_tokens
    const void *q, *k, *v;  ///< [batch][token] rows of q_stride / kv_stride elements, head h at h * head_dim
    std::int64_t q_stride, kv_stride;
    void* o;  ///< [batch][q_tokens][heads * head_dim] bf16
};

struct PrefillSchedule {
    int tile_q = 128;   ///< 64, 128 or 192: one consumer warpgroup for each 64
    int tile_kv = 128;  ///< 64, 128, 176 (head_dim 128, not causal)
    int stages = 2;     ///< of K and of V: 1 to 4
};

[[nodiscard]] std::string prefill_refusal(const PrefillProblem& problem, const PrefillSchedule& schedule);

class PrefillPlan {
public:
    PrefillPlan(const PrefillProblem& problem, const PrefillSchedule& schedule, const TileLog* log = nullptr);
    void launch(cudaStream_t stream, bool dependent = false) const;
    [[nodiscard]] int ctas() const;

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace memwall::kernels
