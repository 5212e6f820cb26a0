#include "base/huge_pages.h"

#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace memwall {

void prefer_huge_pages() {
#if defined(__GLIBC__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t kPage = 2 << 20, kHeap = 256 << 20;
    // All of it from one heap that is grown at once; what nobody touches takes no memory.
    if (mallopt(M_MMAP_THRESHOLD, static_cast<int>(kHeap)) == 0) return;
    mallopt(M_TRIM_THRESHOLD, static_cast<int>(kHeap));
    const auto begin = reinterpret_cast<std::uintptr_t>(sbrk(0));
    const std::uintptr_t first = (begin + kPage - 1) / kPage * kPage;
    mallopt(M_TOP_PAD, static_cast<int>(kHeap));
    void* volatile grown = operator new(kPage);
    operator delete(grown);
    madvise(reinterpret_cast<void*>(first), kHeap, MADV_HUGEPAGE);
#endif
}

}  // namespace memwall
