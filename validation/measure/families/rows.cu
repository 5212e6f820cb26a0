// Norms, softmax and elementwise kernels, each against a plain kernel in fp32.

#include <cuda_bf16.h>

#include <vector>

#include "bench.h"
#include "rows.h"

namespace memwall::measure {

using kernels::DeviceBuffer;
using kernels::Dtype;

namespace {

/// A CTA of 256 threads for each row, two passes over memory, nothing kept.
__device__ float row_sum(float value) {
    __shared__ float parts[8];
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffff, value, step);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    float sum = 0;
    for (const float part : parts) sum += part;
    __syncthreads();
    return sum;
}

__global__ void reference_rmsnorm(const __nv_bfloat16* x, const __nv_bfloat16* weight, float* out, std::int64_t cols,
                                  float epsilon) {
    const __nv_bfloat16* row = x + blockIdx.x * cols;
    float squares = 0;
    for (std::int64_t i = threadIdx.x; i < cols; i += 256) {
        const float value = __bfloat162float(row[i]);
        squares += value * value;
    }
    const float scale = 1 / sqrtf(row_sum(squares) / static_cast<float>(cols) + epsilon);
    for (std::int64_t i = threadIdx.x; i < cols; i += 256) {
        out[blockIdx.x * cols + i] = __bfloat162float(row[i]) * scale * __bfloat162float(weight[i]);
    }
}

/// Inputs lie in [-1, 1), so no maximum is needed for the exponentials to stay finite.
__global__ void reference_softmax(const __nv_bfloat16* x, float* out, std::int64_t cols) {
    const __nv_bfloat16* row = x + blockIdx.x * cols;
    float sum = 0;
    for (std::int64_t i = threadIdx.x; i < cols; i += 256) sum += expf(__bfloat162float(row[i]));
    const float all = row_sum(sum);
    for (std::int64_t i = threadIdx.x; i < cols; i += 256) {
        out[blockIdx.x * cols + i] = expf(__bfloat162float(row[i])) / all;
    }
}

__global__ void reference_sum(const __nv_bfloat16* a, const __nv_bfloat16* b, const __nv_bfloat16* c, float* out,
                              std::int64_t elements) {
    const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < elements; i += stride) {
        float sum = 0;
        for (const __nv_bfloat16* from : {a, b, c}) sum += from != nullptr ? __bfloat162float(from[i]) : 0.0f;
        out[i] = sum;
    }
}

/// bf16 results: rounded to 8 bits of mantissa.
constexpr double kTolerance = 5e-3;

/// Outputs beyond this many elements are checked in their first part only; the reference is fp32.
constexpr std::int64_t kMostChecked = 1 << 26;

/// Arrays of bf16 in `copies` copies, outputs poisoned.
struct Arrays {
    std::vector<DeviceBuffer> in, out;
    int ins, outs;

    Arrays(int reads, int writes, std::int64_t elements, int copies, Bench& bench) : ins(reads), outs(writes) {
        for (int i = 0; i < copies * reads; ++i) {
            in.emplace_back(static_cast<std::size_t>(elements) * 2);
            kernels::fill_random(in.back().as(), static_cast<std::size_t>(elements), Dtype::bf16, bench.seed(),
                                 bench.stream());
        }
        for (int i = 0; i < copies * writes; ++i) {
            out.emplace_back(static_cast<std::size_t>(elements) * 2);
            kernels::poison(out.back().as(), out.back().bytes(), bench.stream());
        }
    }
    [[nodiscard]] void* input(int copy, int which = 0) const {
        return in[static_cast<std::size_t>(copy * ins + which)].as();
    }
    [[nodiscard]] void* output(int copy, int which = 0) const {
        return out[static_cast<std::size_t>(copy * outs + which)].as();
    }
};

Outcome timed(Bench& bench, const Case& c, int copies, const Check& check, const std::function<void(int)>& launch) {
    const Timing timing = bench.graph(copies, c.gpu_ms * 0.5, launch);
    return {timing.us, timing.sm_clock_mhz, check, timing.method, nullptr};
}

Outcome measure_row_op(const Case& c, Bench& bench) {
    const std::int64_t rows = c.number("rows"), cols = c.number("cols"), elements = rows * cols;
    const int copies = bench.copies(static_cast<std::size_t>(elements) * 4, c.cache);
    const Arrays arrays(1, 1, elements, copies, bench);
    DeviceBuffer weight(static_cast<std::size_t>(cols) * 2);
    kernels::fill_random(weight.as(), static_cast<std::size_t>(cols), Dtype::bf16, bench.seed(), bench.stream());
    const bool norm = c.op == "rmsnorm";
    const auto launch = [&](int i) {
        const int copy = i % copies;
        if (norm) {
            kernels::RmsnormArguments args{arrays.input(copy), nullptr, weight.as(), arrays.output(copy), rows, cols};
            kernels::rmsnorm(args, bench.stream());
        } else {
            kernels::softmax(arrays.input(copy), arrays.output(copy), rows, cols, bench.stream());
        }
    };
    launch(0);
    Check check{"two passes in fp32 by a plain kernel", 0, kTolerance, ""};
    const std::int64_t checked_rows = std::min(rows, std::max<std::int64_t>(1, kMostChecked / cols));
    const DeviceBuffer reference(static_cast<std::size_t>(checked_rows * cols) * sizeof(float));
    const auto* x = static_cast<const __nv_bfloat16*>(arrays.input(0));
    if (norm) {
        reference_rmsnorm<<<static_cast<unsigned>(checked_rows), 256, 0, bench.stream()>>>(
            x, weight.as<__nv_bfloat16>(), reference.as<float>(), cols, 1e-5f);
    } else {
        reference_softmax<<<static_cast<unsigned>(checked_rows), 256, 0, bench.stream()>>>(x, reference.as<float>(),
                                                                                           cols);
    }
    kernels::check(cudaGetLastError(), "reference");
    check.error = relative_error(arrays.output(0), reference.as<float>(), static_cast<std::size_t>(checked_rows * cols),
                                 bench.stream());
    if (!all_finite(arrays.output(0), static_cast<std::size_t>(elements), bench.stream())) {
        check.reason = "some outputs were not written";
    }
    return timed(bench, c, copies, check, launch);
}

Outcome measure_elementwise(const Case& c, Bench& bench) {
    const std::int64_t elements = c.number("elements");
    const int reads = static_cast<int>(c.number("reads")), writes = static_cast<int>(c.number("writes"));
    const int copies = bench.copies(static_cast<std::size_t>(elements * (reads + writes)) * 2, c.cache);
    const Arrays arrays(reads, writes, elements, copies, bench);
    const auto launch = [&](int i) {
        const int copy = i % copies;
        kernels::ElementwiseArguments args{{}, {}, reads, writes, elements};
        for (int r = 0; r < reads; ++r) args.inputs[r] = arrays.input(copy, r);
        for (int w = 0; w < writes; ++w) args.outputs[w] = arrays.output(copy, w);
        kernels::elementwise(args, bench.stream());
    };
    launch(0);
    Check check;
    if (reads > 0 && writes > 0) {
        check = {"sums in fp32 by a plain kernel", 0, kTolerance, ""};
        const std::int64_t checked = std::min(elements, kMostChecked);
        const DeviceBuffer reference(static_cast<std::size_t>(checked) * sizeof(float));
        const auto input = [&](int r) {
            return r < reads ? static_cast<const __nv_bfloat16*>(arrays.input(0, r)) : nullptr;
        };
        reference_sum<<<1024, 256, 0, bench.stream()>>>(input(0), input(1), input(2), reference.as<float>(), checked);
        kernels::check(cudaGetLastError(), "reference");
        check.error =
            relative_error(arrays.output(0), reference.as<float>(), static_cast<std::size_t>(checked), bench.stream());
    }
    for (int w = 0; w < writes; ++w) {
        if (!all_finite(arrays.output(0, w), static_cast<std::size_t>(elements), bench.stream())) {
            check.reason = "some outputs were not written";
        }
    }
    return timed(bench, c, copies, check, launch);
}

}  // namespace

Outcome measure_rows(const Case& c, Bench& bench) {
    return c.op == "elementwise" ? measure_elementwise(c, bench) : measure_row_op(c, bench);
}

}  // namespace memwall::measure
