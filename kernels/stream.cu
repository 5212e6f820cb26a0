#include <string>

#include "gemm_tiles.h"
#include "hopper.cuh"
#include "stream.h"
#include "stream_layout.h"

namespace memwall::kernels {

namespace {

/// What a kernel needs of StreamArguments.
struct Walk {
    const char* in;
    char* out;
    PieceOrder order;
    std::uint32_t passes;
    int ctas, sms, ctas_per_sm;
    bool shared;
    std::uint32_t* slots;
    std::uint32_t* checksum;
};

/// This CTA's number among those that take part, or -1. On chosen SMs each CTA draws its place from its SM's word:
/// every launch draws ctas_per_sm of them.
__device__ int number_of(const Walk& walk) {
    if (walk.sms == 0) return static_cast<int>(blockIdx.x);
    const auto sm = static_cast<int>(sm_id());
    if (sm >= walk.sms) return -1;
    __shared__ int number;
    if (threadIdx.x == 0) {
        const auto slot = static_cast<int>(atomicAdd(&walk.slots[sm], 1U) % static_cast<unsigned>(walk.ctas_per_sm));
        number = sm * walk.ctas_per_sm + slot;
    }
    __syncthreads();
    return number;
}

/// Volatile, so that the loads of a group are issued in a row before the first is used.
__device__ uint4 load_piece(const char* from) {
    uint4 piece;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(piece.x), "=r"(piece.y), "=r"(piece.z), "=r"(piece.w)
                 : "l"(from));
    return piece;
}

__device__ uint4 written_piece(std::uint32_t piece) {
    return make_uint4(written_word(piece, 0), written_word(piece, 1), written_word(piece, 2), written_word(piece, 3));
}

/// kInFlight pieces of a thread, or the `left` of them when not kWhole, are read before the first of them is used.
template <int kInFlight, bool kRead, bool kWrite, bool kScattered, bool kWhole>
__device__ std::uint32_t stream_group(const Walk& walk, std::uint32_t first, std::uint32_t step, std::uint32_t left) {
    uint4 held[kInFlight];
#pragma unroll
    for (std::uint32_t u = 0; u < kInFlight; ++u) {
        const std::uint32_t piece = first + u * step;
        held[u] = make_uint4(0, 0, 0, 0);
        if (!kWhole && u >= left) continue;
        if constexpr (kRead) {
            held[u] = load_piece(walk.in + walk.order.template offset<kScattered>(piece));
        } else {
            held[u] = written_piece(piece);
        }
    }
    std::uint32_t sum = 0;
#pragma unroll
    for (std::uint32_t u = 0; u < kInFlight; ++u) {
        if constexpr (!kWrite) {
            sum += held[u].x ^ held[u].y ^ held[u].z ^ held[u].w;
        } else if (kWhole || u < left) {
            const std::uint32_t piece = first + u * step;
            *reinterpret_cast<uint4*>(walk.out + walk.order.template offset<kScattered>(piece)) = held[u];
        }
    }
    return sum;
}

template <int kInFlight, bool kRead, bool kWrite, bool kScattered>
__global__ void __launch_bounds__(1024, most_threads_of_sm(kInFlight, kRead&& kWrite) / 1024)
    stream_kernel(const __grid_constant__ Walk walk) {
    const int number = number_of(walk);
    if (number < 0) return keep_place();
    const ThreadWalk mine = walk.shared
                                ? thread_walk(0, 1, threadIdx.x, blockDim.x, walk.order.pieces)
                                : thread_walk(static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(walk.ctas),
                                              threadIdx.x, blockDim.x, walk.order.pieces);
    std::uint32_t sum = 0;
    for (std::uint32_t pass = 0; pass < walk.passes; ++pass) {
        std::uint32_t piece = mine.first, left = mine.count();
        // Not unrolled further: loads of the next group would then be under way beside these.
#pragma unroll 1
        for (; left >= kInFlight; left -= kInFlight, piece += kInFlight * mine.step) {
            sum += stream_group<kInFlight, kRead, kWrite, kScattered, true>(walk, piece, mine.step, left);
        }
        if (left > 0) sum += stream_group<kInFlight, kRead, kWrite, kScattered, false>(walk, piece, mine.step, left);
    }
    // Asked for in the launch that is checked only; the compiler cannot know, and so no load is dropped.
    if (!kWrite && walk.checksum != nullptr) atomicAdd(walk.checksum, sum);
}

using StreamKernel = void (*)(Walk);

template <bool kRead, bool kWrite, bool kScattered>
StreamKernel kernel_for(int in_flight) {
    switch (in_flight) {
        case 1:
            return &stream_kernel<1, kRead, kWrite, kScattered>;
        case 2:
            return &stream_kernel<2, kRead, kWrite, kScattered>;
        case 4:
            return &stream_kernel<4, kRead, kWrite, kScattered>;
        default:
            return &stream_kernel<8, kRead, kWrite, kScattered>;
    }
}

StreamKernel kernel_of(const StreamArguments& args) {
    const bool reads = args.in != nullptr, writes = args.out != nullptr;
    if (reads && writes) return kernel_for<true, true, false>(args.in_flight);
    if (writes) return kernel_for<false, true, false>(args.in_flight);
    return args.scattered ? kernel_for<true, false, true>(args.in_flight)
                          : kernel_for<true, false, false>(args.in_flight);
}

constexpr int kMostBoxes = 16, kCopyBoxes = 4;

__device__ char* aligned_boxes(char* raw) {
    return raw + ((128 - (shared_address(raw) & 127)) & 127);
}

struct TmaWalk {
    const char* in;
    std::int64_t boxes;
    int box_bytes, in_flight, passes, rank;
    L2Policy policy;
    std::uint32_t* checksum;
};

__device__ std::uint32_t sum_of_box(const char* box, int bytes) {
    std::uint32_t sum = 0;
    for (int at = 0; at < bytes; at += kPieceBytes) {
        const uint4 piece = *reinterpret_cast<const uint4*>(box + at);
        sum += piece.x ^ piece.y ^ piece.z ^ piece.w;
    }
    fence_async_proxy();  // these reads come before the next copy into the box
    return sum;
}

/// kSum: the boxes are read, so that what landed can be checked; slow, and not what is timed.
template <bool kSum>
__global__ void __launch_bounds__(32)
    tma_read_kernel(const __grid_constant__ CUtensorMap map, const __grid_constant__ TmaWalk walk) {
    extern __shared__ char raw[];
    __shared__ Barrier full[kMostBoxes];
    if (threadIdx.x != 0) return;
    char* ring = aligned_boxes(raw);
    for (int i = 0; i < walk.in_flight; ++i) barrier_init(&full[i], 1);
    fence_barrier_init();
    fence_async_proxy();
    const int rows = walk.box_bytes / 128;
    const bool hinted = walk.policy != L2Policy::normal;
    const std::uint64_t policy = walk.policy == L2Policy::evict_last ? evict_last_policy() : evict_first_policy();
    RingPlace issue, wait;
    std::int64_t under_way = 0;
    std::uint32_t sum = 0;
    const auto take_oldest = [&] {
        barrier_wait(&full[wait.stage], wait.parity);
        if constexpr (kSum) sum += sum_of_box(ring + wait.stage * walk.box_bytes, walk.box_bytes);
        wait.advance(walk.in_flight);
        --under_way;
    };
    for (int pass = 0; pass < walk.passes; ++pass) {
        for (std::int64_t box = blockIdx.x; box < walk.boxes; box += gridDim.x) {
            if (under_way == walk.in_flight) take_oldest();
            char* to = ring + issue.stage * walk.box_bytes;
            barrier_arrive_expect(&full[issue.stage], static_cast<std::uint32_t>(walk.box_bytes));
            const auto bytes = static_cast<std::uint32_t>(walk.box_bytes);
            if (hinted) {
                bulk_load(to, walk.in + box * walk.box_bytes, bytes, &full[issue.stage], policy);
            } else if (walk.rank == 1) {
                bulk_load(to, walk.in + box * walk.box_bytes, bytes, &full[issue.stage]);
            } else {
                tma_load_2d(to, &map, &full[issue.stage], 0, static_cast<int>(box) * rows);
            }
            issue.advance(walk.in_flight);
            ++under_way;
        }
    }
    while (under_way > 0) take_oldest();
    if constexpr (kSum) atomicAdd(walk.checksum, sum);
}

__global__ void __launch_bounds__(32) tma_copy_kernel(const char* in, char* out, std::int64_t boxes, int box_bytes) {
    extern __shared__ char raw[];
    __shared__ Barrier full[kCopyBoxes];
    if (threadIdx.x != 0) return;
    char* ring = aligned_boxes(raw);
    for (Barrier& barrier : full) barrier_init(&barrier, 1);
    fence_barrier_init();
    fence_async_proxy();
    const auto bytes = static_cast<std::uint32_t>(box_bytes);
    const auto load = [&](std::int64_t box, int stage) {
        barrier_arrive_expect(&full[stage], bytes);
        bulk_load(ring + stage * box_bytes, in + box * box_bytes, bytes, &full[stage]);
    };
    // Two boxes are on their way in while up to two are on their way out: a box is loaded into the place of the store
    // before last, which has been read by then.
    constexpr int kAhead = kCopyBoxes / 2;
    const auto stride = static_cast<std::int64_t>(gridDim.x);
    RingPlace issue, wait;
    for (int i = 0; i < kAhead; ++i) {
        if (blockIdx.x + i * stride < boxes) load(blockIdx.x + i * stride, issue.stage);
        issue.advance(kCopyBoxes);
    }
    for (std::int64_t box = blockIdx.x; box < boxes; box += stride) {
        if (box + kAhead * stride < boxes) {
            bulk_wait_read<kAhead - 1>();
            load(box + kAhead * stride, issue.stage);
        }
        issue.advance(kCopyBoxes);
        barrier_wait(&full[wait.stage], wait.parity);
        fence_async_proxy();
        bulk_store(out + box * box_bytes, ring + wait.stage * box_bytes, bytes);
        bulk_commit();
        wait.advance(kCopyBoxes);
    }
    bulk_wait<0>();
}

}  // namespace

std::string stream_refusal(const StreamArguments& args) {
    if (args.in_flight != 1 && args.in_flight != 2 && args.in_flight != 4 && args.in_flight != 8) {
        return "in_flight 1, 2, 4 or 8";
    }
    if (args.threads < 32 || args.threads > 1024 || args.threads % 32 != 0) return "threads a multiple of 32 to 1,024";
    const int most = most_threads_of_sm(args.in_flight, args.in != nullptr && args.out != nullptr);
    if (args.ctas_per_sm < 1 || args.ctas_per_sm * args.threads > most) {
        return "on an SM at most " + std::to_string(most) + " threads that hold so many pieces";
    }
    if (args.sms > 0 && args.ctas_per_sm > 8) return "on chosen SMs at most 8 CTAs each";
    if (args.sms > 0 && args.slots == nullptr) return "chosen SMs need a word each";
    if (args.bytes < kPieceBytes || args.bytes % kPieceBytes != 0 || args.bytes > std::int64_t{16} << 30) {
        return "bytes a multiple of 16 up to 16 GiB";
    }
    if (args.pattern_stride == 0) return args.scattered ? "a scattered order needs a pattern" : "";
    const bool even = args.pattern_bytes >= kPieceBytes && is_power_of_two(args.pattern_bytes) &&
                      args.pattern_stride >= args.pattern_bytes && args.pattern_stride % kPieceBytes == 0 &&
                      args.bytes % args.pattern_stride == 0;
    if (!even) return "a pattern of a power of two bytes, 16 or more, of a stride that divides the array";
    if (!args.scattered) return "";
    const std::int64_t runs = args.bytes / args.pattern_stride;
    if (args.out != nullptr) return "a scattered order is read only";
    return is_power_of_two(runs) && runs >= 4 ? "" : "a power of two of scattered runs, 4 or more";
}

void stream(const StreamArguments& args, cudaStream_t stream) {
    if (const std::string reason = stream_refusal(args); !reason.empty()) throw CudaError("stream: " + reason);
    const int all = multiprocessors();
    Walk walk{};
    walk.in = static_cast<const char*>(args.in);
    walk.out = static_cast<char*>(args.out);
    walk.order = piece_order(args.bytes, args.pattern_bytes, args.pattern_stride, args.scattered);
    walk.passes = static_cast<std::uint32_t>(args.passes);
    walk.sms = args.sms < all ? args.sms : 0;
    walk.ctas_per_sm = args.ctas_per_sm;
    walk.ctas = (walk.sms > 0 ? walk.sms : all) * args.ctas_per_sm;
    walk.shared = args.shared;
    walk.slots = args.slots;
    walk.checksum = args.checksum;
    Launch how{.grid = dim3(static_cast<unsigned>(all * args.ctas_per_sm)),
               .block = dim3(static_cast<unsigned>(args.threads))};
    // On chosen SMs each SM must hold just ctas_per_sm CTAs; 2,048 threads see to that, else shared memory does. A grid
    // over all SMs is dealt evenly as it is, and keeps its L1 for the loads that are under way.
    if (walk.sms > 0 && args.ctas_per_sm * args.threads < 2048) {
        how.smem_bytes = static_cast<std::size_t>(limiting_smem_bytes(args.ctas_per_sm));
    }
    how.stream = stream;
    launch(kernel_of(args), how, walk);
}

std::string tma_read_refusal(const TmaReadArguments& args) {
    if (args.in_flight < 1 || args.in_flight > kMostBoxes) return "1 to 16 boxes in flight";
    if (args.box_bytes < 16 || args.box_bytes % (args.rank == 1 ? 16 : 128) != 0 || args.box_bytes > 32768) {
        return "box_bytes a multiple of 16 (rank 1) or 128 (rank 2) up to 32,768";
    }
    if (args.bytes % args.box_bytes != 0) return "bytes a multiple of box_bytes";
    if (args.rank != 1 && args.policy != L2Policy::normal) return "a policy of rank 1";
    const std::size_t smem = static_cast<std::size_t>(args.in_flight) * static_cast<std::size_t>(args.box_bytes) + 512;
    if (smem > kSharedBytesOfCta) return std::to_string(smem) + " bytes of shared memory do not fit a CTA";
    return "";
}

void tma_read(const TmaReadArguments& args, cudaStream_t stream) {
    if (const std::string reason = tma_read_refusal(args); !reason.empty()) throw CudaError("tma_read: " + reason);
    CUtensorMap map{};
    if (args.rank == 2) {
        map = matrix_map(args.in, Dtype::fp8, static_cast<std::uint64_t>(args.bytes / 128), 128,
                         static_cast<std::uint32_t>(args.box_bytes / 128), 128, false);
    }
    const TmaWalk walk{static_cast<const char*>(args.in),
                       args.bytes / args.box_bytes,
                       args.box_bytes,
                       args.in_flight,
                       args.passes,
                       args.rank,
                       args.policy,
                       args.checksum};
    Launch how{.grid = dim3(static_cast<unsigned>(args.ctas)), .block = dim3(32)};
    how.smem_bytes = static_cast<std::size_t>(args.in_flight) * static_cast<std::size_t>(args.box_bytes) + 128;
    how.stream = stream;
    launch(args.checksum != nullptr ? &tma_read_kernel<true> : &tma_read_kernel<false>, how, map, walk);
}

void tma_copy(const void* in, void* out, std::int64_t bytes, int box_bytes, int ctas, cudaStream_t stream) {
    Launch how{.grid = dim3(static_cast<unsigned>(ctas)), .block = dim3(32)};
    how.smem_bytes = static_cast<std::size_t>(kCopyBoxes) * static_cast<std::size_t>(box_bytes) + 128;
    how.stream = stream;
    launch(tma_copy_kernel, how, static_cast<const char*>(in), static_cast<char*>(out), bytes / box_bytes, box_bytes);
}

}  // namespace memwall::kernels
