// The host's pages, for tables that are read all over.
#pragma once

namespace memwall {

/// Asks for pages of 2 MiB behind the first 256 MiB that are allocated from now on, in this process and those that it
/// forks: a busy chip's tables and pools are some tens of megabytes, which the TLB of a host core does not reach in
/// pages of 4 KiB. Where the C library refuses nothing has changed, and the kernel may ignore the advice.
void prefer_huge_pages();

}  // namespace memwall
