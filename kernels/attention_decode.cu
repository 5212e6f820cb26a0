// Decode attention: one query token over a KV cache. What counts is that keys and values stream in; the arithmetic is
// small and runs on the FMA lanes, for all query heads that share a KV head at once.
//
// A CTA has four consumer warps and a producer warp. Per tile of keys: scores (some lanes share a key, 16 bytes of it
// each), softmax of the tile (a warp for each head), values (the same lanes share a key again, and keep 8 dimensions of
// the output for the keys that they saw). The parts of the output are added up once, at the end.

#include <cuda_bf16.h>

#include <algorithm>
#include <array>

#include "attention.h"
#include "attention_tiles.h"
#include "gemm_tiles.h"
#include "hopper.cuh"
#include "recorder.h"

namespace memwall::kernels {

namespace {

constexpr int kConsumers = 128, kWarps = kConsumers / 32, kMostDecodeStages = 8, kCtasPerSm = 2;
constexpr std::uint32_t kConsumerBarrier = 1;

struct DecodeArguments {
    int heads, kv_heads, kv, page, pages_per_sequence, stages;
    KeySplit split;
    std::int64_t q_stride;
    float scale_log2;  ///< log2(e) / sqrt(head_dim)
    const __nv_bfloat16 *q, *k, *v;
    const int* pages;
    __nv_bfloat16* o;
    float *partial_o, *partial_stats;  ///< [split][batch * heads][dim], and [..][2]: maximum, sum; null when not split
    TileLog log;
};

/// kGroup: query heads of a KV head, rounded up to a power of two.
template <int kDim_, int kTile_, int kGroup_, bool kTma_>
struct DecodeTile {
    static constexpr int kDim = kDim_, kTile = kTile_, kGroup = kGroup_;
    static constexpr bool kTma = kTma_;
    static constexpr int kLanes = kDim / 8;              // lanes that share a key, 16 bytes each
    static constexpr int kKeysAtOnce = 32 / kLanes;      // keys of a warp at a time
    static constexpr int kTileBytes = kTile * kDim * 2;  // K or V
    static constexpr std::size_t smem_bytes(int stages) {
        constexpr std::size_t kScores = 2 * sizeof(float) * kTile * kGroup + sizeof(float) * kGroup;
        // The parts of the output are added up where the ring was: it is large enough with one stage.
        return 1024 + 2 * static_cast<std::size_t>(stages) * kTileBytes + kScores +
               4 * kMostDecodeStages * sizeof(Barrier);
    }
};

template <class Tile>
struct DecodeShared {
    char *k, *v;
    Barrier *k_full, *k_empty, *v_full, *v_empty;
    float *scores, *weights, *factors;  // [tile][group], [tile][group], [group]

    __device__ DecodeShared(char* raw, int stages) {
        k = raw + ((128 - (shared_address(raw) & 127)) & 127);
        v = k + stages * Tile::kTileBytes;
        k_full = reinterpret_cast<Barrier*>(v + stages * Tile::kTileBytes);
        k_empty = k_full + kMostDecodeStages;
        v_full = k_empty + kMostDecodeStages;
        v_empty = v_full + kMostDecodeStages;
        scores = reinterpret_cast<float*>(v_empty + kMostDecodeStages);
        weights = scores + Tile::kTile * Tile::kGroup;
        factors = weights + Tile::kTile * Tile::kGroup;
    }
};

struct DecodeWork {
    int batch, kv_head, split, first, end;
    __device__ explicit DecodeWork(const DecodeArguments& args) {
        split = static_cast<int>(blockIdx.x) % args.split.splits;
        const int unit = static_cast<int>(blockIdx.x) / args.split.splits;
        kv_head = unit % args.kv_heads;
        batch = unit / args.kv_heads;
        first = args.split.first(split);
        end = args.split.end(split);
    }
};

/// Page slot of a key; keys beyond the last are read from the last page.
__device__ int slot_of(const DecodeArguments& args, int batch, int key) {
    const int page = min(key / args.page, args.pages_per_sequence - 1);
    return args.pages[batch * args.pages_per_sequence + page];
}

/// K or V of one tile by TMA, by one thread: one box, or one for each page.
template <class Tile>
__device__ void load_by_tma(char* to, const CUtensorMap* map, Barrier* full, const DecodeArguments& args,
                            const DecodeWork& work, int tile) {
    barrier_arrive_expect(full, Tile::kTileBytes);
    const int key = tile * Tile::kTile;
    if (args.page == 0) {
        tma_load_4d(to, map, full, 0, key, work.kv_head, work.batch);
        return;
    }
    const int rows = min(args.page, Tile::kTile);
    for (int row = 0; row < Tile::kTile; row += rows) {
        tma_load_4d(to + row * Tile::kDim * 2, map, full, 0, (key + row) % args.page, work.kv_head,
                    slot_of(args, work.batch, key + row));
    }
}

/// The same by 16-byte asynchronous copies of a whole warp; their arrival is the barrier's.
template <class Tile>
__device__ void load_by_copies(char* to, const __nv_bfloat16* from, Barrier* full, const DecodeArguments& args,
                               const DecodeWork& work, int tile) {
    constexpr int kPieces = Tile::kDim / 8;
    for (int i = static_cast<int>(threadIdx.x % 32); i < Tile::kTile * kPieces; i += 32) {
        // Keys beyond the last are read as the last; their weight is zero.
        const int key = min(tile * Tile::kTile + i / kPieces, args.kv - 1);
        std::int64_t row = 0;
        if (args.page == 0) {
            row = (static_cast<std::int64_t>(work.batch) * args.kv_heads + work.kv_head) * args.kv + key;
        } else {
            row =
                (static_cast<std::int64_t>(slot_of(args, work.batch, key)) * args.kv_heads + work.kv_head) * args.page +
                key % args.page;
        }
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to + i * 16)),
                     "l"(from + row * Tile::kDim + i % kPieces * 8)
                     : "memory");
    }
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_address(full)) : "memory");
}

template <class Tile, bool kRecord>
__device__ void produce_decode(const DecodeShared<Tile>& shared, const CUtensorMap* k, const CUtensorMap* v,
                               const DecodeArguments& args) {
    const DecodeWork work(args);
    RingPlace place;
    for (int tile = work.first; tile < work.end; ++tile) {
        char *to_k = shared.k + place.stage * Tile::kTileBytes, *to_v = shared.v + place.stage * Tile::kTileBytes;
        barrier_wait(&shared.k_empty[place.stage], place.parity ^ 1);
        if constexpr (kRecord) {
            const auto step = static_cast<std::uint32_t>(tile - work.first);
            if (threadIdx.x % 32 == 0 && step < args.log.capacity) {
                TileEvent& event = args.log.events[blockIdx.x * args.log.capacity + step];
                event.item = blockIdx.x;
                event.step = step;
                event.load_issued = clock_now();
            }
        }
        if constexpr (Tile::kTma) {
            load_by_tma<Tile>(to_k, k, &shared.k_full[place.stage], args, work, tile);
        } else {
            load_by_copies<Tile>(to_k, args.k, &shared.k_full[place.stage], args, work, tile);
        }
        barrier_wait(&shared.v_empty[place.stage], place.parity ^ 1);
        if constexpr (Tile::kTma) {
            load_by_tma<Tile>(to_v, v, &shared.v_full[place.stage], args, work, tile);
        } else {
            load_by_copies<Tile>(to_v, args.v, &shared.v_full[place.stage], args, work, tile);
        }
        place.advance(args.stages);
    }
}

__device__ void unpack(const uint4& raw, float (&value)[8]) {
    const std::uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float2 pair = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&words[i]));
        value[2 * i] = pair.x;
        value[2 * i + 1] = pair.y;
    }
}

/// Sums of kGroup values over the kLanes lanes that share a key. Each step halves the values that a lane still adds up:
/// it keeps one half and sends the other. Afterwards value[0] belongs to the head that head_of_lane names.
template <class Tile>
__device__ void reduce_scatter(float (&value)[Tile::kGroup]) {
    int left = Tile::kGroup;
#pragma unroll
    for (int offset = Tile::kLanes / 2; offset > 0; offset /= 2) {
        const bool upper = (threadIdx.x & static_cast<unsigned>(offset)) != 0;
        if (left > 1) {
            left /= 2;
#pragma unroll
            for (int i = 0; i < Tile::kGroup / 2; ++i) {
                if (i >= left) continue;
                const float send = upper ? value[i] : value[i + left];
                const float keep = upper ? value[i + left] : value[i];
                value[i] = keep + __shfl_xor_sync(0xffffffff, send, offset);
            }
        } else {
            value[0] += __shfl_xor_sync(0xffffffff, value[0], offset);
        }
    }
}

/// Which head a lane holds after reduce_scatter: its highest bits, the first of which chose the upper half.
template <class Tile>
__device__ int head_of_lane() {
    return static_cast<int>(threadIdx.x % Tile::kLanes) / (Tile::kLanes / Tile::kGroup);
}

/// Scores of a tile into shared memory, scaled for exp2; keys beyond the last get minus infinity.
template <class Tile>
__device__ void score_tile(const DecodeShared<Tile>& shared, const char* k, const float (&q)[Tile::kGroup][8], int tile,
                           const DecodeArguments& args) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int sub = lane / Tile::kLanes, piece = lane % Tile::kLanes;
    const bool writes = piece % (Tile::kLanes / Tile::kGroup) == 0;
#pragma unroll 4
    for (int first = warp * Tile::kKeysAtOnce; first < Tile::kTile; first += kWarps * Tile::kKeysAtOnce) {
        const int key = first + sub;
        float row[8], sum[Tile::kGroup];
        unpack(*reinterpret_cast<const uint4*>(k + key * Tile::kDim * 2 + piece * 16), row);
#pragma unroll
        for (int h = 0; h < Tile::kGroup; ++h) {
            sum[h] = 0;
#pragma unroll
            for (int i = 0; i < 8; ++i) sum[h] = fmaf(q[h][i], row[i], sum[h]);
        }
        reduce_scatter<Tile>(sum);
        const bool there = tile * Tile::kTile + key < args.kv;
        if (writes) {
            shared.scores[key * Tile::kGroup + head_of_lane<Tile>()] = there ? sum[0] * args.scale_log2 : -INFINITY;
        }
    }
}

/// Running maximum and sum of a head, the same in all lanes of the warp that has it.
struct HeadState {
    float most = -INFINITY, sum = 0;
};

/// Scores of the warp's heads become weights; the factor by which what was summed before must shrink is left for all.
template <class Tile>
__device__ void soften_tile(const DecodeShared<Tile>& shared,
                            HeadState (&state)[(Tile::kGroup + kWarps - 1) / kWarps]) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int turn = 0; turn < (Tile::kGroup + kWarps - 1) / kWarps; ++turn) {
        const int head = warp + turn * kWarps;
        if (head >= Tile::kGroup) continue;
        float score[Tile::kTile / 32], most = state[turn].most;
#pragma unroll
        for (int i = 0; i < Tile::kTile / 32; ++i) {
            score[i] = shared.scores[(lane + i * 32) * Tile::kGroup + head];
            most = fmaxf(most, score[i]);
        }
#pragma unroll
        for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffff, most, step));
        float sum = 0;
#pragma unroll
        for (int i = 0; i < Tile::kTile / 32; ++i) {
            const float weight = exp2f(score[i] - most);  // a tile has a key: most is finite
            shared.weights[(lane + i * 32) * Tile::kGroup + head] = weight;
            sum += weight;
        }
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffff, sum, step);
        const float factor = exp2f(state[turn].most - most);
        if (lane == 0) shared.factors[head] = factor;
        state[turn] = {most, state[turn].sum * factor + sum};
    }
}

/// o[head][8 dimensions] of the keys that this lane sees.
template <class Tile>
__device__ void add_values(const DecodeShared<Tile>& shared, const char* v, float (&o)[Tile::kGroup][8]) {
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    const int sub = lane / Tile::kLanes, piece = lane % Tile::kLanes;
#pragma unroll
    for (int h = 0; h < Tile::kGroup; ++h) {
        const float factor = shared.factors[h];
#pragma unroll
        for (int i = 0; i < 8; ++i) o[h][i] *= factor;
    }
#pragma unroll 4
    for (int first = warp * Tile::kKeysAtOnce; first < Tile::kTile; first += kWarps * Tile::kKeysAtOnce) {
        const int key = first + sub;
        float row[8];
        unpack(*reinterpret_cast<const uint4*>(v + key * Tile::kDim * 2 + piece * 16), row);
#pragma unroll
        for (int h = 0; h < Tile::kGroup; ++h) {
            const float weight = shared.weights[key * Tile::kGroup + h];
#pragma unroll
            for (int i = 0; i < 8; ++i) o[h][i] = fmaf(weight, row[i], o[h][i]);
        }
    }
}

/// Adds up the lanes' parts head by head, in the shared memory that the ring no longer needs, and writes them out.
template <class Tile>
__device__ void write_output(const DecodeShared<Tile>& shared, float (&o)[Tile::kGroup][8],
                             const HeadState (&state)[(Tile::kGroup + kWarps - 1) / kWarps],
                             const DecodeArguments& args, const DecodeWork& work) {
    constexpr int kParts = kConsumers / Tile::kLanes;  // lanes that hold the same dimensions
    const int part = static_cast<int>(threadIdx.x) / Tile::kLanes, piece = static_cast<int>(threadIdx.x) % Tile::kLanes;
    const int warp = static_cast<int>(threadIdx.x) / 32, group = args.heads / args.kv_heads;
    auto* parts = reinterpret_cast<float*>(shared.k);  // [kParts][kDim]
    float* sums = shared.scores;                       // [group]: of the weights; then the maxima
#pragma unroll
    for (int turn = 0; turn < (Tile::kGroup + kWarps - 1) / kWarps; ++turn) {
        const int head = warp + turn * kWarps;
        if (head < Tile::kGroup && threadIdx.x % 32 == 0) {
            sums[head] = state[turn].sum;
            sums[Tile::kGroup + head] = state[turn].most;
        }
    }
#pragma unroll
    for (int h = 0; h < Tile::kGroup; ++h) {
        if (h >= group) continue;
        named_barrier(kConsumerBarrier, kConsumers);  // the ring, or the head before, has been read
#pragma unroll
        for (int i = 0; i < 8; ++i) parts[part * Tile::kDim + piece * 8 + i] = o[h][i];
        named_barrier(kConsumerBarrier, kConsumers);
        const int dim = static_cast<int>(threadIdx.x);
        if (dim >= Tile::kDim) continue;
        float sum = 0;
#pragma unroll
        for (int p = 0; p < kParts; ++p) sum += parts[p * Tile::kDim + dim];
        const std::int64_t row = static_cast<std::int64_t>(work.batch) * args.heads + work.kv_head * group + h;
        if (args.partial_o == nullptr) {
            args.o[row * Tile::kDim + dim] = __float2bfloat16_rn(sum / sums[h]);
            continue;
        }
        const std::int64_t rows = static_cast<std::int64_t>(gridDim.x) / args.split.splits / args.kv_heads * args.heads;
        const std::int64_t at = work.split * rows + row;
        args.partial_o[at * Tile::kDim + dim] = sum;
        if (dim == 0) {
            args.partial_stats[at * 2] = sums[Tile::kGroup + h];
            args.partial_stats[at * 2 + 1] = sums[h];
        }
    }
}

template <class Tile, bool kRecord>
__device__ void consume_decode(const DecodeShared<Tile>& shared, const DecodeArguments& args) {
    const DecodeWork work(args);
    const int piece = static_cast<int>(threadIdx.x) % Tile::kLanes, group = args.heads / args.kv_heads;
    float q[Tile::kGroup][8], o[Tile::kGroup][8];
#pragma unroll
    for (int h = 0; h < Tile::kGroup; ++h) {
        uint4 raw = make_uint4(0, 0, 0, 0);  // heads that only round up the group
        if (h < group) {
            const __nv_bfloat16* row = args.q + work.batch * args.q_stride;
            raw = *reinterpret_cast<const uint4*>(row + (work.kv_head * group + h) * Tile::kDim + piece * 8);
        }
        unpack(raw, q[h]);
#pragma unroll
        for (int i = 0; i < 8; ++i) o[h][i] = 0;
    }
    HeadState state[(Tile::kGroup + kWarps - 1) / kWarps];
    RingPlace place;
    for (int tile = work.first; tile < work.end; ++tile) {
        barrier_wait(&shared.k_full[place.stage], place.parity);
        TileEvent* event = nullptr;
        if constexpr (kRecord) {
            const auto step = static_cast<std::uint32_t>(tile - work.first);
            if (threadIdx.x == 0 && step < args.log.capacity) {
                event = &args.log.events[blockIdx.x * args.log.capacity + step];
                event->sm = sm_id();
                event->cta = blockIdx.x;
                event->load_landed = event->compute_begun = clock_now();
            }
        }
        score_tile<Tile>(shared, shared.k + place.stage * Tile::kTileBytes, q, tile, args);
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(&shared.k_empty[place.stage]);
        named_barrier(kConsumerBarrier, kConsumers);  // all scores are there, and all weights of the tile before used
        soften_tile<Tile>(shared, state);
        named_barrier(kConsumerBarrier, kConsumers);
        barrier_wait(&shared.v_full[place.stage], place.parity);
        add_values<Tile>(shared, shared.v + place.stage * Tile::kTileBytes, o);
        __syncwarp();
        if (threadIdx.x % 32 == 0) barrier_arrive(&shared.v_empty[place.stage]);
        if constexpr (kRecord) {
            if (event != nullptr) event->compute_done = clock_now();
        }
        place.advance(args.stages);
    }
    named_barrier(kConsumerBarrier, kConsumers);  // nobody reads scores, weights or factors any more
    write_output<Tile>(shared, o, state, args, work);
    if constexpr (kRecord) {
        if (threadIdx.x == 0) args.log.counts[blockIdx.x] = static_cast<std::uint32_t>(work.end - work.first);
    }
}

template <class Tile, bool kRecord>
__global__ void __launch_bounds__(kConsumers + 32)
    decode_kernel(const __grid_constant__ CUtensorMap k, const __grid_constant__ CUtensorMap v,
                  const __grid_constant__ DecodeArguments args) {
    extern __shared__ char raw[];
    const DecodeShared<Tile> shared(raw, args.stages);
    ClockPair clocks{};
    if constexpr (kRecord) clocks = {clock_now(), global_timer(), 0, 0};
    trigger_dependents();
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < args.stages; ++stage) {
            barrier_init(&shared.k_full[stage], Tile::kTma ? 1 : 32);
            barrier_init(&shared.v_full[stage], Tile::kTma ? 1 : 32);
            barrier_init(&shared.k_empty[stage], kWarps);
            barrier_init(&shared.v_empty[stage], kWarps);
        }
        fence_barrier_init();
    }
    __syncthreads();
    wait_dependency();  // the newest key and value are the kernel before's, as are the queries
    if (threadIdx.x < kConsumers) {
        consume_decode<Tile, kRecord>(shared, args);
    } else if (!Tile::kTma || threadIdx.x == kConsumers) {
        produce_decode<Tile, kRecord>(shared, &k, &v, args);
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

/// A CTA for each head of each sequence, a thread for each dimension.
__global__ void combine_kernel(const float* partial_o, const float* stats, int splits, std::int64_t rows,
                               __nv_bfloat16* o) {
    trigger_dependents();
    wait_dependency();
    const std::int64_t row = blockIdx.x;
    const int dim = static_cast<int>(threadIdx.x), dims = static_cast<int>(blockDim.x);
    float most = -INFINITY;
    for (int s = 0; s < splits; ++s) most = fmaxf(most, stats[(s * rows + row) * 2]);
    float sum = 0, value = 0;
    for (int s = 0; s < splits; ++s) {
        const std::int64_t at = s * rows + row;
        const float weight = exp2f(stats[at * 2] - most);
        sum += weight * stats[at * 2 + 1];
        value += weight * partial_o[at * dims + dim];
    }
    o[row * dims + dim] = __float2bfloat16_rn(value / sum);
}

using DecodeKernel = void (*)(CUtensorMap, CUtensorMap, DecodeArguments);

struct DecodeEntry {
    DecodeKernel kernel, recording;
    std::size_t smem_bytes;
};

template <int kDim, int kTile, int kGroup, bool kTma>
DecodeEntry decode_entry(int stages) {
    using Tile = DecodeTile<kDim, kTile, kGroup, kTma>;
    DecodeEntry entry{&decode_kernel<Tile, false>, nullptr, Tile::smem_bytes(stages)};
#ifdef MEMWALL_RECORD_TILES
    if constexpr (kDim == 128 && kTile == 64 && kGroup == 1 && kTma) entry.recording = &decode_kernel<Tile, true>;
#endif
    return entry;
}

template <int kDim, int kTile, bool kTma>
DecodeEntry with_group(int group, int stages) {
    if (group == 1) return decode_entry<kDim, kTile, 1, kTma>(stages);
    if (group == 2) return decode_entry<kDim, kTile, 2, kTma>(stages);
    if (group <= 4) return decode_entry<kDim, kTile, 4, kTma>(stages);
    return decode_entry<kDim, kTile, 8, kTma>(stages);
}

template <int kDim>
DecodeEntry with_dim(int group, const DecodeSchedule& s) {
    if (s.tile == 64) {
        return s.tma ? with_group<kDim, 64, true>(group, s.stages) : with_group<kDim, 64, false>(group, s.stages);
    }
    return s.tma ? with_group<kDim, 128, true>(group, s.stages) : with_group<kDim, 128, false>(group, s.stages);
}

DecodeEntry find_decode(const DecodeProblem& p, const DecodeSchedule& s) {
    const int group = p.heads / p.kv_heads;
    return p.head_dim == 64 ? with_dim<64>(group, s) : with_dim<128>(group, s);
}

/// Rows of keys or values: [slot or batch][kv_head][row][dim], boxes of all dimensions by `box_rows` rows of one head.
CUtensorMap cache_map(const void* address, const DecodeProblem& p, int box_rows) {
    const int rows = p.page > 0 ? p.page : p.kv, blocks = p.page > 0 ? p.page_slots : p.batch;
    const auto row_bytes = static_cast<std::uint64_t>(p.head_dim) * 2;
    TensorMapShape shape{Dtype::bf16, 4};
    shape.extent = {static_cast<std::uint64_t>(p.head_dim), static_cast<std::uint64_t>(rows),
                    static_cast<std::uint64_t>(p.kv_heads), static_cast<std::uint64_t>(blocks)};
    shape.stride_bytes = {row_bytes, row_bytes * shape.extent[1], row_bytes * shape.extent[1] * shape.extent[2]};
    shape.box = {static_cast<std::uint32_t>(p.head_dim), static_cast<std::uint32_t>(box_rows), 1, 1};
    shape.swizzle = false;  // rows lie one after another, as the lanes read them
    return tensor_map(address, shape);
}

}  // namespace

int decode_splits(int units, int kv, int sms) {
    return splits_by_rule(units, kv, kCtasPerSm * sms);
}

std::string decode_refusal(const DecodeProblem& p, const DecodeSchedule& s) {
    if (p.head_dim != 64 && p.head_dim != 128) return "head_dim 64 or 128";
    if (p.kv_heads < 1 || p.heads % p.kv_heads != 0 || p.heads / p.kv_heads > 8) {
        return "heads a multiple of kv_heads, at most 8 for each";
    }
    if (s.tile != 64 && s.tile != 128) return "tile 64 or 128 keys";
    if (s.stages < 1 || s.stages > kMostDecodeStages) return "1 to 8 stages";
    if (p.page != 0 && p.page != 16 && p.page != 32 && p.page != 64 && p.page != 128)
        return "pages of 16, 32, 64 or 128";
    if (p.page != 0 && (p.pages == nullptr || p.page_slots < 1)) return "a paged cache needs its table and its slots";
    if (p.kv < 1) return "at least one key";
    const std::size_t bytes = find_decode(p, s).smem_bytes;
    if (bytes > kSharedBytesOfCta) {
        return std::to_string(bytes) + " bytes of shared memory; a CTA has " + std::to_string(kSharedBytesOfCta);
    }
    return "";
}

struct DecodePlan::State {
    DecodeEntry entry{};
    DecodeArguments arguments{};
    CUtensorMap k{}, v{};
    bool recording = false;
    int batch = 0, dim = 0;
    DeviceBuffer partial_o, partial_stats;
};

DecodePlan::DecodePlan(const DecodeProblem& p, const DecodeSchedule& s, const TileLog* log)
    : state_(std::make_shared<State>()) {
    if (const std::string reason = decode_refusal(p, s); !reason.empty()) throw CudaError("decode: " + reason);
    State& state = *state_;
    state.entry = find_decode(p, s);
    state.recording = log != nullptr;
    if (state.recording && state.entry.recording == nullptr) {
        throw CudaError("this decode tile was not compiled with the tile recorder");
    }
    state.batch = p.batch;
    state.dim = p.head_dim;
    const int box_rows = p.page > 0 ? std::min(p.page, s.tile) : s.tile;
    state.k = cache_map(p.k, p, box_rows);
    state.v = cache_map(p.v, p, box_rows);
    constexpr float kLog2E = 1.4426950408889634f;
    DecodeArguments& args = state.arguments;
    args.heads = p.heads;
    args.kv_heads = p.kv_heads;
    args.kv = p.kv;
    args.page = p.page;
    args.pages_per_sequence = p.page > 0 ? (p.kv + p.page - 1) / p.page : 0;
    args.stages = s.stages;
    args.split = KeySplit::of(p.kv, s.tile, s.split);
    args.scale_log2 = kLog2E / std::sqrt(static_cast<float>(p.head_dim));
    args.q = static_cast<const __nv_bfloat16*>(p.q);
    args.q_stride = p.q_stride > 0 ? p.q_stride : static_cast<std::int64_t>(p.heads) * p.head_dim;
    args.k = static_cast<const __nv_bfloat16*>(p.k);
    args.v = static_cast<const __nv_bfloat16*>(p.v);
    args.pages = p.pages;
    args.o = static_cast<__nv_bfloat16*>(p.o);
    if (log != nullptr) args.log = *log;
    if (args.split.splits == 1) return;
    const auto rows = static_cast<std::size_t>(args.split.splits) * static_cast<std::size_t>(p.batch * p.heads);
    state.partial_o = DeviceBuffer(rows * static_cast<std::size_t>(p.head_dim) * sizeof(float));
    state.partial_stats = DeviceBuffer(rows * 2 * sizeof(float));
    args.partial_o = state.partial_o.as<float>();
    args.partial_stats = state.partial_stats.as<float>();
}

int DecodePlan::ctas() const {
    const DecodeArguments& args = state_->arguments;
    return state_->batch * args.kv_heads * args.split.splits;
}

void DecodePlan::launch(cudaStream_t stream, bool dependent) const {
    const State& s = *state_;
    Launch how{.grid = dim3(static_cast<unsigned>(ctas())), .block = dim3(kConsumers + 32)};
    how.smem_bytes = s.entry.smem_bytes;
    how.stream = stream;
    how.dependent = dependent;
    kernels::launch(s.recording ? s.entry.recording : s.entry.kernel, how, s.k, s.v, s.arguments);
    if (s.arguments.partial_o == nullptr) return;
    const std::int64_t rows = static_cast<std::int64_t>(s.batch) * s.arguments.heads;
    Launch combine{.grid = dim3(static_cast<unsigned>(rows)), .block = dim3(static_cast<unsigned>(s.dim))};
    combine.stream = stream;
    combine.dependent = dependent;
    kernels::launch(combine_kernel, combine, static_cast<const float*>(s.arguments.partial_o),
                    static_cast<const float*>(s.arguments.partial_stats), s.arguments.split.splits, rows,
                    s.arguments.o);
}

}  // namespace memwall::kernels
