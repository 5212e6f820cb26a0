// The engines of an SM one by one: tensor core, TMA's issue, shared memory, barriers, the special-function unit, and
// the network between the SMs of a cluster. Each kernel reports SM cycles from its own clock.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <string>

#include "host.h"

namespace memwall::kernels {

/// What a CTA measured, and how many values it found to be other than they must be; zeroed before a launch.
struct EngineResult {
    std::uint64_t cycles, ns;
    unsigned long long wrong;
};

enum class OperandA { shared, registers };

/// Back-to-back products m64nNk(32 bytes) of `warpgroups` (1 or 2) in a CTA on every SM, `times` (of 8) of them; random
/// operands at `operands` (at least 48 KiB). n 8, 16, 32, 64, 96, 128, 192 or 256; bf16, fp8, or fp32 as tf32;
/// A from registers in bf16 only.
[[nodiscard]] std::string wgmma_refusal(Dtype dtype, int n, OperandA a);
void wgmma_rate(Dtype dtype, int n, OperandA a, int warpgroups, int times, const void* operands, EngineResult* results,
                cudaStream_t stream);

/// One product D[64, n] = A[64, k] x B[n, k]^T with k of 128 bytes (32 as tf32, 64 in bf16, 128 in fp8), by every way
/// that the kernels here use: A and B from swizzled tiles, K-major; A from registers; B MN-major (given as
/// b_transposed[k, n], n a multiple of 64; both in bf16 only). n: of wgmma.cuh. Operands are row-major in memory and
/// come by TMA; d is fp32, row-major.
enum class ProductWay { shared, registers, transposed };
void wgmma_product(Dtype dtype, int n, ProductWay way, const void* a, const void* b, float* d, cudaStream_t stream);

/// `times` bulk loads that one thread of one SM orders as fast as it can, of 64 boxes at `from` in turn, with up to
/// 128 boxes (or 200 KiB) under way. rank 1: runs of bytes; 2: boxes of a tensor map, rows of 128 bytes. times: a
/// multiple of 8.
void tma_issue(const void* from, int box_bytes, int rank, int times, EngineResult* result, cudaStream_t stream);
/// Bulk loads one at a time from order to arrival, each `stride_bytes` behind the one before.
void tma_single(const void* from, std::int64_t stride_bytes, int box_bytes, int times, EngineResult* result,
                cudaStream_t stream);
/// `times` (64 or more) bulk stores of `box_bytes` by one thread to 64 boxes in turn, 1 or 8 under way.
void tma_store_rate(void* to, int box_bytes, int under_way, int times, EngineResult* result, cudaStream_t stream);

/// 16-byte accesses of shared memory by 1,024 threads of one SM; `conflict` neighbours of a quarter warp meet in the
/// same banks (1: none, 2, 4 or 8). Bytes moved: times * 1,024 * 16.
void shared_rate(bool write, int conflict, int times, EngineResult* result, cudaStream_t stream);

enum class BarrierPart { arrive, try_wait, handover };
/// Cycles of one mbarrier operation by one thread; handover: full and empty there and back between two warps.
void barrier_cost(BarrierPart part, int times, EngineResult* result, cudaStream_t stream);

/// ex2 by 1,024 threads of one SM: times * 1,024 of them.
void exp2_rate(int times, EngineResult* result, cudaStream_t stream);

/// Ring of a cluster: every CTA reads (or writes) 16 bytes a thread of its neighbour's shared memory. Bytes moved by
/// each SM: times * 1,024 * 16.
void peer_rate(bool write, int cluster, int times, EngineResult* result, cudaStream_t stream);

/// Each CTA of a cluster loads its part of a box (of 16 at `from`, in turn) and multicasts it to all. Bytes landed in
/// each SM: times * box_bytes; times a multiple of 4, a part a multiple of 128 bytes.
void multicast_rate(const void* from, int cluster, int box_bytes, int times, EngineResult* result, cudaStream_t stream);

}  // namespace memwall::kernels
