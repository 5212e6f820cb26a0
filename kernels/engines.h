// The engines of an SM one by one: tensor core, TMA's issue, shared memory, barriers, the special-function unit, and
// the network between the SMs of a cluster. Each kernel reports SM cycles from its own clock.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "host.h"

namespace memwall::kernels {

/// What a CTA measured.
struct EngineResult {
    std::uint64_t cycles, ns;
};

enum class OperandA { shared, registers };

/// Back-to-back products m64nNk(32 bytes) of `warpgroups` (1 or 2) in a CTA on every SM, `times` of them; random
/// operands at `operands` (at least 48 KiB). n 8, 16, 32, 64, 96, 128, 192 or 256; bf16, fp8, or fp32 as tf32;
/// A from registers in bf16 only.
[[nodiscard]] std::string wgmma_refusal(Dtype dtype, int n, OperandA a);
void wgmma_rate(Dtype dtype, int n, OperandA a, int warpgroups, int times, const void* operands, EngineResult* results,
                cudaStream_t stream);

/// One product D[64, n] = A[64, k] x B[n, k]^T with k of 128 bytes (32 as tf32, 64 in bf16, 128 in fp8), by every way
/// that the kernels here use: A and B from swizzled tiles, K-major; A from registers; B MN-major (given as
/// b_transposed[k, n], n = 64 to 128). Operands are row-major in memory and come by TMA; d is fp32, row-major.
enum class ProductWay { shared, registers, transposed };
void wgmma_product(Dtype dtype, int n, ProductWay way, const void* a, const void* b, float* d, cudaStream_t stream);

/// Cycles per bulk load that one thread of one SM orders, from L2 (times boxes of a resident buffer): as fast as it can
/// (four rings' worth in flight at most 16 boxes), and of a single load from order to arrival.
void tma_issue(const void* from, int box_bytes, int times, EngineResult* result, cudaStream_t stream);
void tma_single(const void* from, std::int64_t stride_bytes, int box_bytes, int times, EngineResult* result,
                cudaStream_t stream);
/// Cycles per bulk store of `box_bytes`, one thread, several under way.
void tma_store_rate(void* to, int box_bytes, int times, EngineResult* result, cudaStream_t stream);

/// 16-byte accesses of shared memory by 1,024 threads of one SM; `conflict` neighbours of a quarter warp meet in the
/// same banks (1: none, 2, 4 or 8). Bytes moved: times * 1,024 * 16.
void shared_rate(bool write, int conflict, int times, EngineResult* result, cudaStream_t stream);

enum class BarrierPart { arrive, try_wait, handover };
/// Cycles of one mbarrier operation by one thread; handover: full and empty there and back between two warps.
void barrier_cost(BarrierPart part, int times, EngineResult* result, cudaStream_t stream);

/// ex2 by 1,024 threads of one SM: times * 1,024 of them. `result`: room for two.
void exp2_rate(int times, EngineResult* result, cudaStream_t stream);

/// Ring of a cluster: every CTA reads (or writes) 16 bytes a thread of its neighbour's shared memory. Bytes moved by
/// each SM: times * 1,024 * 16.
void peer_rate(bool write, int cluster, int times, EngineResult* result, cudaStream_t stream);

/// Each CTA of a cluster loads its part of a box and multicasts it to all. Bytes landed in each SM: times * box_bytes.
void multicast_rate(const void* from, int cluster, int box_bytes, int times, EngineResult* result, cudaStream_t stream);

}  // namespace memwall::kernels
