// wgmma: D[64,N] += A[64,K] x B[N,K]^T by one warpgroup, K being 32 bytes of operands (16 bf16, 32 fp8). One overload
// of each function per N; the bodies differ only in how many registers they name, so they are spelled by macros.
//
// Accumulator layout (PTX ISA, wgmma m64nNk16 D fragment): thread t of the warpgroup holds, for j = 0 .. N/8-1,
//   d[4j], d[4j+1] at row 16*(t/32) + (t%32)/4,     columns 8j + 2*(t%4), +1
//   d[4j+2], d[4j+3] eight rows below.
// A from registers has the same layout per 16 columns: a[0], a[1] (row, row+8) columns 2*(t%4); a[2], a[3] columns +8.
#pragma once

#include <cstdint>

#include "hopper.cuh"

namespace memwall::kernels {

/// Matrix descriptor of a tile in shared memory with rows of 128 bytes, swizzled by 128 bytes, 1024-byte aligned.
/// K-major (k contiguous): eight rows are 1024 bytes apart from the next eight; advance 32 bytes per k step.
__device__ inline std::uint64_t descriptor_k_major(const void* tile) {
    const std::uint64_t address = (shared_address(tile) & 0x3ffff) >> 4;
    constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
    constexpr std::uint64_t kStride = std::uint64_t{1024 >> 4} << 32;
    constexpr std::uint64_t kLeading = std::uint64_t{1} << 16;  // unused by swizzled K-major tiles
    return address | kLeading | kStride | kSwizzle128;
}

/// MN-major (B's n, here 64 of them, contiguous in each 128-byte row; one row per k): `leading_bytes` from one 64-wide
/// column of the tile to the next. Advance 16 rows (2048 bytes) per k step.
__device__ inline std::uint64_t descriptor_mn_major(const void* tile, std::uint32_t leading_bytes) {
    const std::uint64_t address = (shared_address(tile) & 0x3ffff) >> 4;
    constexpr std::uint64_t kSwizzle128 = std::uint64_t{1} << 62;
    constexpr std::uint64_t kStride = std::uint64_t{1024 >> 4} << 32;
    return address | (static_cast<std::uint64_t>(leading_bytes >> 4) << 16) | kStride | kSwizzle128;
}

/// The descriptor `bytes` (a multiple of 16) further on.
__device__ inline std::uint64_t advanced(std::uint64_t descriptor, std::uint32_t bytes) {
    return descriptor + (bytes >> 4);
}

// clang-format off
#define MEMWALL_TEXT_8 \
    "{%0, %1, %2, %3}"
#define MEMWALL_D_8 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define MEMWALL_TEXT_16 \
    "{%0, %1, %2, %3, %4, %5, %6, %7}"
#define MEMWALL_D_16 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define MEMWALL_TEXT_32 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}"
#define MEMWALL_D_32 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define MEMWALL_TEXT_64 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}"
#define MEMWALL_D_64 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), \
    "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
    "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), \
    "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define MEMWALL_TEXT_96 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
    "%42, %43, %44, %45, %46, %47}"
#define MEMWALL_D_96 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), \
    "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
    "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), \
    "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
    "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), \
    "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define MEMWALL_TEXT_128 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
    "%62, %63}"
#define MEMWALL_D_128 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), \
    "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
    "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), \
    "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
    "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), \
    "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), \
    "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
    "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define MEMWALL_TEXT_176 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
    "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
    "%82, %83, %84, %85, %86, %87}"
#define MEMWALL_D_176 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), \
    "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
    "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), \
    "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
    "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), \
    "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), \
    "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
    "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
    "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), \
    "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), \
    "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), \
    "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define MEMWALL_TEXT_192 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
    "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
    "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}"
#define MEMWALL_D_192 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), \
    "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
    "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), \
    "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
    "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), \
    "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), \
    "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
    "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
    "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), \
    "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), \
    "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), \
    "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), \
    "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define MEMWALL_TEXT_256 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
    "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
    "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, " \
    "%101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, " \
    "%117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}"
#define MEMWALL_D_256 \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), \
    "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), \
    "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), \
    "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), \
    "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), \
    "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), \
    "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), \
    "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
    "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), \
    "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), \
    "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), \
    "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), \
    "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), \
    "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), \
    "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), \
    "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), \
    "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), \
    "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), \
    "+f"(d[127])

/// bf16, fp8 (e4m3) and tf32 with both operands in shared memory. kTransposeB: B is MN-major (bf16 only). A, B, P, T: the
/// operand numbers of the descriptors, of `accumulate` (false: D = A x B) and of the transposition.
#define MEMWALL_WGMMA(N, A, B, P, T)                                                                               \
    template <int kTransposeB = 0>                                                                                 \
    __device__ inline void wgmma_bf16(float (&d)[N / 2], std::uint64_t a, std::uint64_t b, bool accumulate) {      \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                                         \
                     ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 " MEMWALL_TEXT_##N ", " A     \
                     ", " B ", p, 1, 1, 0, " T ";\n}\n"                                                            \
                     : MEMWALL_D_##N                                                                               \
                     : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kTransposeB));                       \
    }                                                                                                              \
    __device__ inline void wgmma_fp8(float (&d)[N / 2], std::uint64_t a, std::uint64_t b, bool accumulate) {       \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                                         \
                     ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k32.f32.e4m3.e4m3 " MEMWALL_TEXT_##N ", " A     \
                     ", " B ", p, 1, 1;\n}\n"                                                                      \
                     : MEMWALL_D_##N                                                                               \
                     : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                                         \
    }                                                                                                          \
    __device__ inline void wgmma_tf32(float (&d)[N / 2], std::uint64_t a, std::uint64_t b, bool accumulate) {       \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                                         \
                     ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k8.f32.tf32.tf32 " MEMWALL_TEXT_##N ", " A     \
                     ", " B ", p, 1, 1;\n}\n"                                                                      \
                     : MEMWALL_D_##N                                                                               \
                     : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                                         \
    }

/// bf16 with A in registers.
#define MEMWALL_WGMMA_RS(N, A, B, P, T)                                                                            \
    template <int kTransposeB = 0>                                                                                 \
    __device__ inline void wgmma_bf16_rs(float (&d)[N / 2], const std::uint32_t (&a)[4], std::uint64_t b,          \
                                         bool accumulate) {                                                        \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " P                                                         \
                     ", 0;\nwgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 " MEMWALL_TEXT_##N ", " A     \
                     ", " B ", p, 1, 1, " T ";\n}\n"                                                               \
                     : MEMWALL_D_##N                                                                               \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)),      \
                       "n"(kTransposeB));                                                                          \
    }

MEMWALL_WGMMA(8, "%4", "%5", "%6", "%7")
MEMWALL_WGMMA(16, "%8", "%9", "%10", "%11")
MEMWALL_WGMMA(32, "%16", "%17", "%18", "%19")
MEMWALL_WGMMA(64, "%32", "%33", "%34", "%35")
MEMWALL_WGMMA(96, "%48", "%49", "%50", "%51")
MEMWALL_WGMMA(128, "%64", "%65", "%66", "%67")
MEMWALL_WGMMA(176, "%88", "%89", "%90", "%91")
MEMWALL_WGMMA(192, "%96", "%97", "%98", "%99")
MEMWALL_WGMMA(256, "%128", "%129", "%130", "%131")

MEMWALL_WGMMA_RS(8, "{%4, %5, %6, %7}", "%8", "%9", "%10")
MEMWALL_WGMMA_RS(16, "{%8, %9, %10, %11}", "%12", "%13", "%14")
MEMWALL_WGMMA_RS(32, "{%16, %17, %18, %19}", "%20", "%21", "%22")
MEMWALL_WGMMA_RS(64, "{%32, %33, %34, %35}", "%36", "%37", "%38")
MEMWALL_WGMMA_RS(96, "{%48, %49, %50, %51}", "%52", "%53", "%54")
MEMWALL_WGMMA_RS(128, "{%64, %65, %66, %67}", "%68", "%69", "%70")
MEMWALL_WGMMA_RS(176, "{%88, %89, %90, %91}", "%92", "%93", "%94")
MEMWALL_WGMMA_RS(192, "{%96, %97, %98, %99}", "%100", "%101", "%102")
MEMWALL_WGMMA_RS(256, "{%128, %129, %130, %131}", "%132", "%133", "%134")

#undef MEMWALL_WGMMA
#undef MEMWALL_WGMMA_RS
#undef MEMWALL_TEXT_8
#undef MEMWALL_D_8
#undef MEMWALL_TEXT_16
#undef MEMWALL_D_16
#undef MEMWALL_TEXT_32
#undef MEMWALL_D_32
#undef MEMWALL_TEXT_64
#undef MEMWALL_D_64
#undef MEMWALL_TEXT_96
#undef MEMWALL_D_96
#undef MEMWALL_TEXT_128
#undef MEMWALL_D_128
#undef MEMWALL_TEXT_176
#undef MEMWALL_D_176
#undef MEMWALL_TEXT_192
#undef MEMWALL_D_192
#undef MEMWALL_TEXT_256
#undef MEMWALL_D_256
// clang-format on

}  // namespace memwall::kernels
