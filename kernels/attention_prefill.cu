// Prefill attention. A producer thread brings the queries once and keys and values through two rings; each consumer
// warpgroup keeps 64 queries: S = Q K^T on the tensor cores, online softmax in registers, O += P V with P from
// registers. The product for the next keys is under way while the softmax of these is computed, as FlashAttention-3
// does it (Shah et al., 2407.08608, section 3.2); keys go from the last visible tile to the first, so that masks come
// first.

#include <cuda_bf16.h>

#include <algorithm>

#include "attention.h"
#include "attention_tiles.h"
#include "gemm_tiles.h"
#include "hopper.cuh"
#include "recorder.h"
#include "wgmma.cuh"

namespace memwall::kernels {

namespace {

constexpr int kRowBytes = 128, kMostAttentionStages = 4;

template <int kDim_, int kGroups_, int kKv_>
struct PrefillTile {
    static constexpr int kDim = kDim_, kGroups = kGroups_, kKv = kKv_;
    static constexpr int kColumns = kDim / 64;  // swizzled columns of 64 bf16
    static constexpr int kQ = 64 * kGroups;
    static constexpr int kThreads = 128 * (kGroups + 1);
    static constexpr int kQBytes = kQ * kDim * 2, kKvBytes = kKv * kDim * 2;
    static constexpr std::size_t smem_bytes(int stages) {
        return 1024 + kQBytes + 2 * static_cast<std::size_t>(stages) * kKvBytes + 32 * sizeof(Barrier);
    }
};

struct PrefillArguments {
    int batch, heads, kv_heads, q_tokens, kv_tokens, q_tiles, stages;
    bool causal;
    float scale_log2;  ///< log2(e) / sqrt(head_dim)
    __nv_bfloat16* o;
    TileLog log;
};

template <class Tile>
struct PrefillShared {
    char *q, *k, *v;
    Barrier *q_full, *k_full, *k_empty, *v_full, *v_empty;

    __device__ PrefillShared(char* raw, int stages) {
        q = raw + ((1024 - (shared_address(raw) & 1023)) & 1023);
        k = q + Tile::kQBytes;
        v = k + stages * Tile::kKvBytes;
        q_full = reinterpret_cast<Barrier*>(v + stages * Tile::kKvBytes);
        k_full = q_full + 1;
        k_empty = k_full + kMostAttentionStages;
        v_full = k_empty + kMostAttentionStages;
        v_empty = v_full + kMostAttentionStages;
    }
};

/// What a CTA works on.
template <class Tile>
struct PrefillWork {
    PrefillItem item;
    int first_row, tiles;
    __device__ explicit PrefillWork(const PrefillArguments& args)
        : item(prefill_item(static_cast<int>(blockIdx.x), args.batch, args.heads, args.q_tiles, args.causal)),
          first_row(item.q_tile * Tile::kQ),
          tiles(visible_tiles(args.causal, first_row, Tile::kQ, args.q_tokens, args.kv_tokens, Tile::kKv)) {}
};

/// Rows of keys or values of one tile into a stage, when it is empty.
template <class Tile>
__device__ void load_rows(char* to, const CUtensorMap* map, Barrier* full, Barrier* empty, const RingPlace& place,
                          int head, int row, int batch) {
    barrier_wait(&empty[place.stage], place.parity ^ 1);
    barrier_arrive_expect(&full[place.stage], Tile::kKvBytes);
#pragma unroll
    for (int column = 0; column < Tile::kColumns; ++column) {
        tma_load_4d(to + place.stage * Tile::kKvBytes + column * Tile::kKv * kRowBytes, map, &full[place.stage],
                    column * 64, head, row, batch);
    }
}

template <class Tile, bool kRecord>
__device__ void produce_prefill(const PrefillShared<Tile>& shared, const CUtensorMap* q, const CUtensorMap* k,
                                const CUtensorMap* v, const PrefillArguments& args) {
    const PrefillWork<Tile> work(args);
    const int kv_head = work.item.head / (args.heads / args.kv_heads);
    barrier_arrive_expect(shared.q_full, Tile::kQBytes);
#pragma unroll
    for (int column = 0; column < Tile::kColumns; ++column) {
        tma_load_4d(shared.q + column * Tile::kQ * kRowBytes, q, shared.q_full, column * 64, work.item.head,
                    work.first_row, work.item.batch);
    }
    RingPlace k_place, v_place;
    // In the order in which they are used: keys of a tile, then the values of the tile before it.
    for (int i = 0; i <= work.tiles; ++i) {
        if (i < work.tiles) {
            const int row = (work.tiles - 1 - i) * Tile::kKv;
            if constexpr (kRecord) {
                if (static_cast<std::uint32_t>(i) < args.log.capacity) {
                    TileEvent& event = args.log.events[blockIdx.x * args.log.capacity + static_cast<std::uint32_t>(i)];
                    event.item = blockIdx.x;
                    event.step = static_cast<std::uint32_t>(i);
                    event.load_issued = clock_now();
                }
            }
            load_rows<Tile>(shared.k, k, shared.k_full, shared.k_empty, k_place, kv_head, row, work.item.batch);
            k_place.advance(args.stages);
        }
        if (i > 0) {
            const int row = (work.tiles - i) * Tile::kKv;
            load_rows<Tile>(shared.v, v, shared.v_full, shared.v_empty, v_place, kv_head, row, work.item.batch);
            v_place.advance(args.stages);
        }
    }
}

/// S = Q K^T for this warpgroup's 64 rows, put on its way.
template <class Tile>
__device__ void multiply_keys(float (&s)[Tile::kKv / 2], const char* q, const char* k) {
#pragma unroll
    for (int column = 0; column < Tile::kColumns; ++column) {
        const std::uint64_t a = descriptor_k_major(q + column * Tile::kQ * kRowBytes);
        const std::uint64_t b = descriptor_k_major(k + column * Tile::kKv * kRowBytes);
#pragma unroll
        for (int at = 0; at < kRowBytes; at += 32) {
            wgmma_bf16(s, advanced(a, at), advanced(b, at), column > 0 || at > 0);
        }
    }
    wgmma_commit();
}

/// O += P V, put on its way. V lies with its dimensions contiguous: 16 keys are 2,048 bytes, and the next 64 dimensions
/// a column further on.
template <class Tile>
__device__ void multiply_values(float (&o)[Tile::kDim / 2], const std::uint32_t (&p)[Tile::kKv / 16][4],
                                const char* v) {
    const std::uint64_t b = descriptor_mn_major(v, Tile::kKv * kRowBytes);
#pragma unroll
    for (int step = 0; step < Tile::kKv / 16; ++step) {
        wgmma_bf16_rs<1>(o, p[step], advanced(b, step * 16 * kRowBytes), true);
    }
    wgmma_commit();
}

/// A thread's two rows: running maximum (of unscaled scores) and its part of the sum.
struct SoftmaxRows {
    float most[2] = {-INFINITY, -INFINITY};
    float sum[2] = {0, 0};
    float factor[2];  ///< what O and the sums so far must be multiplied by
};

__device__ float quad_max(float value) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, 1));
    return fmaxf(value, __shfl_xor_sync(0xffffffff, value, 2));
}
__device__ float quad_sum(float value) {
    value += __shfl_xor_sync(0xffffffff, value, 1);
    return value + __shfl_xor_sync(0xffffffff, value, 2);
}

template <class Tile>
__device__ void mask_scores(float (&s)[Tile::kKv / 2], const PrefillArguments& args, int tile, int row) {
    const int first_key = tile * Tile::kKv + static_cast<int>(threadIdx.x % 4) * 2;
#pragma unroll
    for (int i = 0; i < Tile::kKv / 2; ++i) {
        const int key = first_key + i / 4 * 8 + i % 2;
        if (!sees(args.causal, row + i % 4 / 2 * 8, key, args.q_tokens, args.kv_tokens)) s[i] = -INFINITY;
    }
}

/// Scores become exponentials; the running maximum moves.
template <class Tile>
__device__ void soften(float (&s)[Tile::kKv / 2], SoftmaxRows& rows, float scale_log2) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        float most = rows.most[half];
#pragma unroll
        for (int i = 2 * half; i < Tile::kKv / 2; i += 4) most = fmaxf(most, fmaxf(s[i], s[i + 1]));
        most = quad_max(most);
        // A row that has seen nothing yet has no maximum: zero then serves as well, since all its terms are zero.
        const float offset = most == -INFINITY ? 0 : most * scale_log2;
        rows.factor[half] = exp2f(rows.most[half] * scale_log2 - offset);
        rows.most[half] = most;
        float sum = 0;
#pragma unroll
        for (int i = 2 * half; i < Tile::kKv / 2; i += 4) {
            s[i] = exp2f(fmaf(s[i], scale_log2, -offset));
            s[i + 1] = exp2f(fmaf(s[i + 1], scale_log2, -offset));
            sum += s[i] + s[i + 1];
        }
        rows.sum[half] = rows.sum[half] * rows.factor[half] + sum;
    }
}

/// The accumulator's layout of 16 columns is that of an A fragment.
template <class Tile>
__device__ void convert(std::uint32_t (&p)[Tile::kKv / 16][4], const float (&s)[Tile::kKv / 2]) {
#pragma unroll
    for (int i = 0; i < Tile::kKv / 4; ++i) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(s[2 * i], s[2 * i + 1]);
        p[i / 4][i % 4] = *reinterpret_cast<const std::uint32_t*>(&pair);
    }
}

__device__ void release(Barrier* empty) {
    if (threadIdx.x % 32 == 0) barrier_arrive(empty);
}

/// Times of the steps of the first consumer warpgroup.
template <bool kRecord>
struct PrefillLog {
    const TileLog& log;
    __device__ TileEvent* event(int step) const {
        const bool mine = threadIdx.x == 128 && static_cast<std::uint32_t>(step) < log.capacity;
        return mine ? &log.events[blockIdx.x * log.capacity + static_cast<std::uint32_t>(step)] : nullptr;
    }
    __device__ void landed(int step) const {
        if constexpr (kRecord) {
            if (TileEvent* e = event(step)) {
                e->sm = sm_id();
                e->cta = blockIdx.x;
                e->load_landed = e->compute_begun = clock_now();
            }
        }
    }
    __device__ void done(int step) const {
        if constexpr (kRecord) {
            if (TileEvent* e = event(step)) e->compute_done = clock_now();
        }
    }
};

template <class Tile>
__device__ void store_rows(const float (&o)[Tile::kDim / 2], const SoftmaxRows& rows, const PrefillArguments& args,
                           const PrefillItem& item, int row) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const float sum = quad_sum(rows.sum[half]);
        const int token = row + half * 8;
        if (token >= args.q_tokens) continue;
        const float share = sum > 0 ? 1 / sum : 0;
        const std::int64_t at =
            (static_cast<std::int64_t>(item.batch) * args.q_tokens + token) * args.heads + item.head;
        __nv_bfloat16* to = args.o + at * Tile::kDim + threadIdx.x % 4 * 2;
#pragma unroll
        for (int unit = 0; unit < Tile::kDim / 8; ++unit) {
            const float* d = &o[unit * 4 + half * 2];
            *reinterpret_cast<__nv_bfloat162*>(to + unit * 8) = __floats2bfloat162_rn(d[0] * share, d[1] * share);
        }
    }
}

template <class Tile, bool kRecord>
__device__ void consume_prefill(const PrefillShared<Tile>& shared, const PrefillArguments& args) {
    const PrefillWork<Tile> work(args);
    const int group = static_cast<int>(threadIdx.x / 128) - 1;
    const int group_row = work.first_row + group * 64;
    const int row = group_row + static_cast<int>(threadIdx.x % 128 / 32) * 16 + static_cast<int>(threadIdx.x % 32 / 4);
    const char* q = shared.q + group * 64 * kRowBytes;
    const PrefillLog<kRecord> log{args.log};
    float s[Tile::kKv / 2], o[Tile::kDim / 2];
    std::uint32_t p[Tile::kKv / 16][4];
#pragma unroll
    for (int i = 0; i < Tile::kDim / 2; ++i) o[i] = 0;
    SoftmaxRows rows;
    RingPlace k_place, v_place;
    const auto scores = [&](int tile) {
        if (needs_mask(args.causal, tile, group_row, args.q_tokens, args.kv_tokens, Tile::kKv)) {
            mask_scores<Tile>(s, args, tile, row);
        }
        soften<Tile>(s, rows, args.scale_log2);
    };

    barrier_wait(shared.q_full, 0);
    barrier_wait(&shared.k_full[0], 0);
    log.landed(0);
    wgmma_fence();
    multiply_keys<Tile>(s, q, shared.k);
    wgmma_wait<0>();
    release(&shared.k_empty[0]);
    k_place.advance(args.stages);
    scores(work.tiles - 1);
    convert<Tile>(p, s);
    for (int i = 1; i < work.tiles; ++i) {
        barrier_wait(&shared.k_full[k_place.stage], k_place.parity);
        log.landed(i);
        wgmma_fence();
        multiply_keys<Tile>(s, q, shared.k + k_place.stage * Tile::kKvBytes);
        barrier_wait(&shared.v_full[v_place.stage], v_place.parity);
        multiply_values<Tile>(o, p, shared.v + v_place.stage * Tile::kKvBytes);
        wgmma_wait<1>();
        release(&shared.k_empty[k_place.stage]);
        k_place.advance(args.stages);
        scores(work.tiles - 1 - i);
        wgmma_wait<0>();
        release(&shared.v_empty[v_place.stage]);
        v_place.advance(args.stages);
        log.done(i - 1);
#pragma unroll
        for (int j = 0; j < Tile::kDim / 2; ++j) o[j] *= rows.factor[j % 4 / 2];
        convert<Tile>(p, s);
    }
    barrier_wait(&shared.v_full[v_place.stage], v_place.parity);
    wgmma_fence();
    multiply_values<Tile>(o, p, shared.v + v_place.stage * Tile::kKvBytes);
    wgmma_wait<0>();
    log.done(work.tiles - 1);
    store_rows<Tile>(o, rows, args, work.item, row);
    if constexpr (kRecord) {
        if (threadIdx.x == 128) args.log.counts[blockIdx.x] = static_cast<std::uint32_t>(work.tiles);
    }
}

template <class Tile>
__device__ void initialise(const PrefillShared<Tile>& shared, int stages) {
    if (threadIdx.x == 0) {
        barrier_init(shared.q_full, 1);
        for (int stage = 0; stage < stages; ++stage) {
            barrier_init(&shared.k_full[stage], 1);
            barrier_init(&shared.v_full[stage], 1);
            barrier_init(&shared.k_empty[stage], 4 * Tile::kGroups);  // every consumer warp
            barrier_init(&shared.v_empty[stage], 4 * Tile::kGroups);
        }
        fence_barrier_init();
    }
    __syncthreads();
}

template <class Tile, bool kRecord>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    prefill_kernel(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                   const __grid_constant__ CUtensorMap v, const __grid_constant__ PrefillArguments args) {
    extern __shared__ char raw[];
    const PrefillShared<Tile> shared(raw, args.stages);
    ClockPair clocks{};
    if constexpr (kRecord) clocks = {clock_now(), global_timer(), 0, 0};
    trigger_dependents();
    initialise<Tile>(shared, args.stages);
    wait_dependency();
    if (threadIdx.x < 128) {
        if constexpr (Tile::kGroups == 2) give_registers<40>();
        if constexpr (Tile::kGroups == 3) give_registers<32>();
        if (threadIdx.x == 0) produce_prefill<Tile, kRecord>(shared, &q, &k, &v, args);
    } else {
        if constexpr (Tile::kGroups == 2) take_registers<232>();
        if constexpr (Tile::kGroups == 3) take_registers<160>();
        consume_prefill<Tile, kRecord>(shared, args);
    }
    if constexpr (kRecord) {
        __syncwarp();
        __syncthreads();
        if (threadIdx.x == 0) {
            clocks.end_cycles = clock_now();
            clocks.end_ns = global_timer();
            args.log.clocks[blockIdx.x] = clocks;
        }
    }
}

using PrefillKernel = void (*)(CUtensorMap, CUtensorMap, CUtensorMap, PrefillArguments);

struct PrefillEntry {
    int dim, tile_q, tile_kv, threads;
    std::size_t (*smem_bytes)(int stages);
    PrefillKernel kernel, recording;
};

template <int kDim, int kGroups, int kKv, bool kRecorded = false>
PrefillEntry prefill_entry() {
    using Tile = PrefillTile<kDim, kGroups, kKv>;
    PrefillEntry entry{kDim, Tile::kQ, kKv, Tile::kThreads, &Tile::smem_bytes, &prefill_kernel<Tile, false>, nullptr};
#ifdef MEMWALL_RECORD_TILES
    if constexpr (kRecorded) entry.recording = &prefill_kernel<Tile, true>;
#endif
    return entry;
}

const PrefillEntry* find_prefill(int dim, const PrefillSchedule& s) {
    static const std::array entries = {
        prefill_entry<128, 1, 64>(),        prefill_entry<128, 1, 128>(), prefill_entry<128, 2, 64>(),
        prefill_entry<128, 2, 128, true>(), prefill_entry<128, 2, 176>(), prefill_entry<64, 1, 128>(),
        prefill_entry<64, 2, 128>(),        prefill_entry<64, 3, 128>(),
    };
    const auto same = [&](const PrefillEntry& e) {
        return e.dim == dim && e.tile_q == s.tile_q && e.tile_kv == s.tile_kv;
    };
    const auto* at = std::find_if(entries.begin(), entries.end(), same);
    return at == entries.end() ? nullptr : at;
}

/// [batch][token][head][dim] as the strides say, boxes of 64 dimensions by `rows` tokens of one head.
CUtensorMap rows_map(const void* address, int dim, int heads, int tokens, int batch, std::int64_t stride, int rows) {
    TensorMapShape shape{Dtype::bf16, 4};
    const auto element = static_cast<std::uint64_t>(2);
    shape.extent = {static_cast<std::uint64_t>(dim), static_cast<std::uint64_t>(heads),
                    static_cast<std::uint64_t>(tokens), static_cast<std::uint64_t>(batch)};
    shape.stride_bytes = {static_cast<std::uint64_t>(dim) * element, static_cast<std::uint64_t>(stride) * element,
                          static_cast<std::uint64_t>(stride) * static_cast<std::uint64_t>(tokens) * element};
    shape.box = {64, 1, static_cast<std::uint32_t>(rows), 1};
    return tensor_map(address, shape);
}

}  // namespace

std::string prefill_refusal(const PrefillProblem& p, const PrefillSchedule& s) {
    const PrefillEntry* entry = find_prefill(p.head_dim, s);
    if (entry == nullptr) {
        return "tile " + std::to_string(s.tile_q) + "x" + std::to_string(s.tile_kv) +
               " was not compiled for heads of " + std::to_string(p.head_dim);
    }
    if (s.stages < 1 || s.stages > kMostAttentionStages) return "1 to 4 stages";
    if (entry->smem_bytes(s.stages) > kSharedBytesOfCta) {
        return std::to_string(entry->smem_bytes(s.stages)) + " bytes of shared memory; a CTA has " +
               std::to_string(kSharedBytesOfCta);
    }
    if (p.kv_heads < 1 || p.heads % p.kv_heads != 0) return "heads must be a multiple of kv_heads";
    if (p.causal && p.kv_tokens < p.q_tokens) return "under a causal mask there are at least as many keys as queries";
    if (p.q_stride % 8 != 0 || p.kv_stride % 8 != 0) return "strides must be multiples of 16 bytes (TMA)";
    return "";
}

struct PrefillPlan::State {
    const PrefillEntry* entry;
    PrefillArguments arguments{};
    CUtensorMap q, k, v;
    bool recording;
};

PrefillPlan::PrefillPlan(const PrefillProblem& p, const PrefillSchedule& s, const TileLog* log)
    : state_(std::make_shared<State>()) {
    if (const std::string reason = prefill_refusal(p, s); !reason.empty()) throw CudaError("prefill: " + reason);
    State& state = *state_;
    state.entry = find_prefill(p.head_dim, s);
    state.recording = log != nullptr;
    if (state.recording && state.entry->recording == nullptr) {
        throw CudaError("this prefill tile was not compiled with the tile recorder");
    }
    state.q = rows_map(p.q, p.head_dim, p.heads, p.q_tokens, p.batch, p.q_stride, s.tile_q);
    state.k = rows_map(p.k, p.head_dim, p.kv_heads, p.kv_tokens, p.batch, p.kv_stride, s.tile_kv);
    state.v = rows_map(p.v, p.head_dim, p.kv_heads, p.kv_tokens, p.batch, p.kv_stride, s.tile_kv);
    constexpr float kLog2E = 1.4426950408889634f;
    state.arguments = {p.batch,
                       p.heads,
                       p.kv_heads,
                       p.q_tokens,
                       p.kv_tokens,
                       (p.q_tokens + s.tile_q - 1) / s.tile_q,
                       s.stages,
                       p.causal,
                       kLog2E / std::sqrt(static_cast<float>(p.head_dim)),
                       static_cast<__nv_bfloat16*>(p.o),
                       log != nullptr ? *log : TileLog{}};
}

int PrefillPlan::ctas() const {
    const PrefillArguments& args = state_->arguments;
    return args.batch * args.heads * args.q_tiles;
}

void PrefillPlan::launch(cudaStream_t stream, bool dependent) const {
    const State& s = *state_;
    Launch how{.grid = dim3(static_cast<unsigned>(ctas())),
               .block = dim3(static_cast<unsigned>(s.entry->threads)),
               .smem_bytes = s.entry->smem_bytes(s.arguments.stages)};
    how.stream = stream;
    how.dependent = dependent;
    kernels::launch(s.recording ? s.entry->recording : s.entry->kernel, how, s.q, s.k, s.v, s.arguments);
}

}  // namespace memwall::kernels
