#include <algorithm>
#include <array>
#include <cmath>

#include "chip_map.h"
#include "chip_map_fit.h"
#include "hopper.cuh"

namespace memwall::kernels {

namespace {

constexpr std::size_t kOnePerSmBytes = 200 << 10;  // so much shared memory that an SM holds one CTA
constexpr int kTries = 8;
constexpr double kLeastGap = 2;

template <class T>
std::vector<T> to_host(const DeviceBuffer& from, std::size_t count, cudaStream_t stream) {
    std::vector<T> host(count);
    check(cudaMemcpyAsync(host.data(), from.as(), count * sizeof(T), cudaMemcpyDeviceToHost, stream),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return host;
}

template <class T>
DeviceBuffer to_device(const std::vector<T>& from, cudaStream_t stream) {
    DeviceBuffer buffer(std::max<std::size_t>(1, from.size()) * sizeof(T));
    check(cudaMemcpyAsync(buffer.as(), from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice, stream),
          "cudaMemcpyAsync");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    return buffer;
}

__global__ void atomic_latency_kernel(std::uint32_t sm, std::uint32_t* region, int blocks, std::uint32_t* least) {
    if (sm_id() != sm) return keep_place();
    if (threadIdx.x != 0) return;
    for (int tries = 0; tries < kTries; ++tries) {
        for (int block = 0; block < blocks; ++block) {
            std::uint32_t* word = region + static_cast<std::size_t>(block) * (kHomeBlockBytes / sizeof(std::uint32_t));
            const std::uint64_t begin = clock_now();
            const std::uint32_t old = atomicAdd(word, 1U);
            // The clock is read after the answer: it depends on a comparison with it that is never true.
            asm volatile("{\n.reg .pred p;\nsetp.eq.u32 p, %0, 0xffffffff;\n@p trap;\n}\n" ::"r"(old) : "memory");
            const auto cycles = static_cast<std::uint32_t>(clock_now() - begin);
            if (tries == 1 || (tries > 1 && cycles < least[block])) least[block] = cycles;
        }
    }
}

__global__ void cluster_sms_kernel(std::uint32_t* sms) {
    if (threadIdx.x == 0) sms[blockIdx.x] = sm_id();
    cluster_barrier();
}

struct Span {
    std::uint64_t begin_ns, end_ns;
};

constexpr int kReadThreads = 1024;

/// One CTA on each SM; those with a rank read their blocks. 1,024 threads load 16 bytes each: four blocks at a time.
__global__ void __launch_bounds__(kReadThreads)
    read_kernel(const int* rank, int readers, const char* region, const int* blocks, int block_count, int passes,
                Span* spans, std::uint32_t* arrived, std::uint32_t* sink) {
    const int mine = rank[sm_id()];
    if (mine < 0) return keep_place();
    // Readers start together: each waits, but not for ever, until all have arrived.
    if (threadIdx.x == 0) {
        atomicAdd(arrived, 1U);
        for (int i = 0; i < 1 << 20; ++i) {
            if (*static_cast<volatile std::uint32_t*>(arrived) >= static_cast<std::uint32_t>(readers)) break;
        }
    }
    __syncthreads();
    const std::uint64_t begin = global_timer();
    constexpr int kThreadsOfBlock = static_cast<int>(kHomeBlockBytes) / 16;
    constexpr int kAtATime = kReadThreads / kThreadsOfBlock;
    const int which = static_cast<int>(threadIdx.x) / kThreadsOfBlock;
    const std::size_t offset = threadIdx.x % kThreadsOfBlock * 16;
    std::uint32_t sum = 0;
    for (int pass = 0; pass < passes; ++pass) {
#pragma unroll 4
        for (int i = mine + which * readers; i < block_count; i += kAtATime * readers) {
            const char* from = region + static_cast<std::size_t>(blocks[i]) * kHomeBlockBytes + offset;
            const uint4 value = __ldcg(reinterpret_cast<const uint4*>(from));
            sum += value.x ^ value.y ^ value.z ^ value.w;
        }
    }
    if (sum == 0x12345678U) *sink = sum;  // keeps the loads
    __syncthreads();
    if (threadIdx.x == 0) spans[mine] = {begin, global_timer()};
}

/// 256 threads of each CTA add to words of one line, without waiting for an answer.
__global__ void atomic_rate_kernel(std::uint32_t* line, int words, int times, Span* spans) {
    const std::uint64_t begin = global_timer();
    for (int i = 0; i < times; ++i) {
        // One lane each: a warp's adds to one word would be folded before they leave the SM.
        if (threadIdx.x % 32 == 0) {
            asm volatile("red.global.add.u32 [%0], 1;" ::"l"(line + (threadIdx.x / 32 + i) % words) : "memory");
        }
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) spans[blockIdx.x] = {begin, global_timer()};
}

double elapsed_us(const std::vector<Span>& spans) {
    std::uint64_t begin = ~std::uint64_t{0}, end = 0;
    for (const Span& span : spans) {
        begin = std::min(begin, span.begin_ns);
        end = std::max(end, span.end_ns);
    }
    return static_cast<double>(end - begin) * 1e-3;
}

std::vector<int> find_gpcs(int sms, cudaStream_t stream) {
    Together together(sms);
    for (const int size : {16, 8, 4, 2}) {
        for (int repeat = 0; repeat < 8; ++repeat) {
            const std::vector<int> seen = sms_of_clusters(size, stream);
            for (std::size_t i = 0; i + 1 < seen.size(); ++i) {
                if (static_cast<int>(i) / size == static_cast<int>(i + 1) / size) together.seen(seen[i], seen[i + 1]);
            }
        }
    }
    return together.groups();
}

/// Each SM against a few blocks near and far from SM 0: the sign of the difference tells its half.
std::vector<int> find_halves(int sms, std::uint32_t* region, const std::vector<bool>& near_to_first,
                             cudaStream_t stream) {
    const auto blocks = static_cast<int>(std::min<std::size_t>(near_to_first.size(), 64));
    std::vector<int> half(static_cast<std::size_t>(sms));
    for (int sm = 0; sm < sms; ++sm) {
        const std::vector<double> latency = atomic_latencies(sm, region, blocks, stream);
        std::array<double, 2> sum{}, count{};
        for (int i = 0; i < blocks; ++i) {
            const std::size_t near = near_to_first[static_cast<std::size_t>(i)] ? 0 : 1;
            sum[near] += latency[static_cast<std::size_t>(i)];
            count[near] += 1;
        }
        half[static_cast<std::size_t>(sm)] =
            sum[0] / std::max(1.0, count[0]) < sum[1] / std::max(1.0, count[1]) ? 0 : 1;
    }
    return half;
}

ChipMap find_map(cudaStream_t stream) {
    constexpr std::uint64_t kRegionBytes = 8 << 20, kPage = 2 << 20;
    const int sms = multiprocessors();
    ChipMap map;
    map.gpc_of_sm = find_gpcs(sms, stream);
    const DeviceBuffer memory(kRegionBytes + kPage);
    check(cudaMemsetAsync(memory.as(), 0, memory.bytes(), stream), "cudaMemsetAsync");
    const auto at = reinterpret_cast<std::uint64_t>(memory.as());
    auto* region = reinterpret_cast<std::uint32_t*>((at + kPage - 1) / kPage * kPage);
    constexpr int kBlocks = static_cast<int>(kRegionBytes / kHomeBlockBytes);
    const std::vector<double> latency = atomic_latencies(0, region, kBlocks, stream);
    const TwoGroups groups = two_groups(latency);
    map.half_gap = groups.gap;
    map.near_cycles = groups.low_mean;
    map.far_cycles = groups.high_mean;
    if (groups.gap < kLeastGap) return map;
    std::vector<bool> near;
    for (const double cycles : latency) near.push_back(cycles < groups.threshold);
    map.half_of_sm = find_halves(sms, region, near, stream);
    // The mask is fitted to one page: which half a page begins in may differ from page to page.
    std::vector<std::uint64_t> addresses;
    std::vector<int> home;
    for (std::uint64_t offset = 0; offset < kPage; offset += kHomeBlockBytes) {
        addresses.push_back(reinterpret_cast<std::uint64_t>(region) + offset);
        home.push_back(near[offset / kHomeBlockBytes] ? 0 : 1);
    }
    const HomeMask fit = fit_home_mask(addresses, home, 12, 9);
    map.home_mask = fit.mask;
    map.home_agreement = fit.agreement;
    return map;
}

}  // namespace

std::vector<double> atomic_latencies(int sm, std::uint32_t* region, int blocks, cudaStream_t stream) {
    const DeviceBuffer least(static_cast<std::size_t>(blocks) * sizeof(std::uint32_t));
    check(cudaMemsetAsync(least.as(), 0, least.bytes(), stream), "cudaMemsetAsync");
    // Counts start at zero: the kernel takes all ones, which fresh memory may hold, for a value that never comes.
    check(
        cudaMemset2DAsync(region, kHomeBlockBytes, 0, sizeof(std::uint32_t), static_cast<std::size_t>(blocks), stream),
        "cudaMemset2DAsync");
    launch(atomic_latency_kernel,
           {.grid = dim3(static_cast<unsigned>(multiprocessors())),
            .block = dim3(32),
            .smem_bytes = kOnePerSmBytes,
            .stream = stream},
           static_cast<std::uint32_t>(sm), region, blocks, least.as<std::uint32_t>());
    const auto cycles = to_host<std::uint32_t>(least, static_cast<std::size_t>(blocks), stream);
    if (std::ranges::find(cycles, 0U) != cycles.end()) throw CudaError("no CTA came to SM " + std::to_string(sm));
    return {cycles.begin(), cycles.end()};
}

std::vector<bool> near_blocks(int sm, std::uint32_t* region, int blocks, cudaStream_t stream) {
    const std::vector<double> latency = atomic_latencies(sm, region, blocks, stream);
    const TwoGroups groups = two_groups(latency);
    if (groups.gap < kLeastGap) throw CudaError("near and far homes cannot be told apart by the latency of atomics");
    std::vector<bool> near;
    for (const double cycles : latency) near.push_back(cycles < groups.threshold);
    return near;
}

int resident_clusters(int size) {
    const auto bytes = static_cast<int>(kOnePerSmBytes);
    check(cudaFuncSetAttribute(cluster_sms_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "cudaFuncSetAttribute");
    check(cudaFuncSetAttribute(cluster_sms_kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
          "cudaFuncSetAttribute");
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim = {static_cast<unsigned>(size), 1, 1};
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(size));
    config.blockDim = dim3(32);
    config.dynamicSmemBytes = kOnePerSmBytes;
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, cluster_sms_kernel, &config) != cudaSuccess) {
        cudaGetLastError();  // refused: not an error of this program
        return 0;
    }
    return clusters;
}

std::vector<int> sms_of_clusters(int size, cudaStream_t stream) {
    const int clusters = resident_clusters(size);
    if (clusters == 0) return {};
    const auto ctas = static_cast<std::size_t>(clusters * size);
    const DeviceBuffer sms(ctas * sizeof(std::uint32_t));
    Launch how{.grid = dim3(static_cast<unsigned>(ctas)), .block = dim3(32), .smem_bytes = kOnePerSmBytes};
    how.stream = stream;
    how.cluster = static_cast<unsigned>(size);
    launch(cluster_sms_kernel, how, sms.as<std::uint32_t>());
    const auto seen = to_host<std::uint32_t>(sms, ctas, stream);
    return {seen.begin(), seen.end()};
}

const ChipMap& chip_map(cudaStream_t stream) {
    static const ChipMap map = find_map(stream);
    return map;
}

double read_by(const std::vector<int>& rank, const char* region, const std::vector<int>& blocks, int passes,
               cudaStream_t stream) {
    const int readers = *std::ranges::max_element(rank) + 1;
    const DeviceBuffer ranks = to_device(rank, stream), list = to_device(blocks, stream);
    const DeviceBuffer spans(static_cast<std::size_t>(readers) * sizeof(Span)), counters(2 * sizeof(std::uint32_t));
    check(cudaMemsetAsync(counters.as(), 0, counters.bytes(), stream), "cudaMemsetAsync");
    launch(read_kernel,
           {.grid = dim3(static_cast<unsigned>(multiprocessors())),
            .block = dim3(kReadThreads),
            .smem_bytes = kOnePerSmBytes,
            .stream = stream},
           ranks.as<int>(), readers, region, list.as<int>(), static_cast<int>(blocks.size()), passes, spans.as<Span>(),
           counters.as<std::uint32_t>(), counters.as<std::uint32_t>() + 1);
    return elapsed_us(to_host<Span>(spans, static_cast<std::size_t>(readers), stream));
}

double atomic_rate(std::uint32_t* line, int words, cudaStream_t stream) {
    constexpr int kTimes = 2000, kThreads = 256;
    const int ctas = multiprocessors();
    const DeviceBuffer spans(static_cast<std::size_t>(ctas) * sizeof(Span));
    launch(atomic_rate_kernel,
           {.grid = dim3(static_cast<unsigned>(ctas)),
            .block = dim3(kThreads),
            .smem_bytes = kOnePerSmBytes,
            .stream = stream},
           line, words, kTimes, spans.as<Span>());
    const double us = elapsed_us(to_host<Span>(spans, static_cast<std::size_t>(ctas), stream));
    return static_cast<double>(kTimes) * (kThreads / 32) * ctas / (us * 1e3);
}

}  // namespace memwall::kernels
