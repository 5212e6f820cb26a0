// The page: a template, the plotting library and the numbers, in one file.

#include <string_view>

#include "validate/correlation.h"
#include "validate/json.h"

// The two files are part of the program, so that a page can be written wherever it runs.
asm(".section .rodata\n"
    ".global memwall_page_begin, memwall_page_end, memwall_chart_begin, memwall_chart_end\n"
    "memwall_page_begin: .incbin \"" MEMWALL_PAGE
    "\"\n"
    "memwall_page_end: .byte 0\n"
    "memwall_chart_begin: .incbin \"" MEMWALL_CHART_JS
    "\"\n"
    "memwall_chart_end: .byte 0\n"
    ".text\n");
extern "C" const char memwall_page_begin[], memwall_page_end[], memwall_chart_begin[], memwall_chart_end[];

namespace memwall::validate {

namespace {

void put(std::string& page, std::string_view mark, std::string_view text) {
    const std::size_t at = page.find(mark);
    page.replace(at, mark.size(), text);
}

/// JSON inside a script element must not end it.
std::string inside_script(std::string text) {
    for (std::size_t at = text.find("</"); at != std::string::npos; at = text.find("</", at + 3))
        text.replace(at, 2, "<\\/");
    return text;
}

}  // namespace

std::string to_html(const std::vector<Result>& results, const Summary& summary) {
    std::string page(memwall_page_begin, memwall_page_end);
    put(page, "/*DATA*/", inside_script(correlation_json(results, summary).dump()));
    put(page, "/*CHART*/", std::string_view(memwall_chart_begin, memwall_chart_end));
    return page;
}

}  // namespace memwall::validate
