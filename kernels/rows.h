// Kernels that the memory binds: a row kept on chip (rmsnorm, softmax), elements in and out (elementwise), and the two
// that a Llama layer needs besides (rotary positions with the cache write, SiLU times up). bf16 in and out unless
// said, fp32 inside; every load and store is 16 bytes wide.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace memwall::kernels {

/// out = x / rms(x) * weight over each row; with `residual`, x + residual is normalised and also written back to
/// residual. cols a multiple of 8, up to 65,536 (32,768 with a residual). residual may be null.
struct RmsnormArguments {
    const void* x;
    void* residual;
    const void* weight;
    void* out;
    std::int64_t rows, cols;
    float epsilon = 1e-5f;
};
void rmsnorm(const RmsnormArguments& arguments, cudaStream_t stream, bool dependent = false);

/// out = softmax(x) over each row. cols a multiple of 8, up to 65,536 (longer rows than an SM holds are not supported).
void softmax(const void* x, void* out, std::int64_t rows, std::int64_t cols, cudaStream_t stream,
             bool dependent = false);

/// Each of `writes` outputs gets the sum of the `reads` inputs (plus its own index). reads 0 to 4, writes 0 to 4, not
/// both 0. With writes 0 the sum is folded and stored only if it is one impossible value. elements a multiple of 8.
struct ElementwiseArguments {
    const void* inputs[4];
    void* outputs[4];
    int reads, writes;
    std::int64_t elements;
};
void elementwise(const ElementwiseArguments& arguments, cudaStream_t stream, bool dependent = false);

/// qkv rows [tokens][(heads + 2 kv_heads) * head_dim] in place: rotary positions (half-split, as Llama) on the q and k
/// parts, and the rotated k and the v copied to a KV cache [kv_heads][capacity][head_dim] at position + token.
/// `cache_k`, `cache_v` may be null. tokens of one sequence (`decode`: one token of each of `tokens` sequences, with
/// caches [sequence][kv_heads][capacity][head_dim], all at `position`).
struct RopeArguments {
    void* qkv;
    void *cache_k, *cache_v;
    std::int64_t tokens;
    int heads, kv_heads, head_dim;
    std::int64_t position, capacity;
    bool decode;
    float theta = 10000.0f;
};
void rope_kv_write(const RopeArguments& arguments, cudaStream_t stream, bool dependent = false);

/// out[r][c] = silu(gate_up[r][c]) * gate_up[r][cols + c]. cols a multiple of 8.
void silu_mul(const void* gate_up, void* out, std::int64_t rows, std::int64_t cols, cudaStream_t stream,
              bool dependent = false);

}  // namespace memwall::kernels
