/* unicode.h: UTF-8, normal form C and the byte alphabet of byte-level BPE.
 *
 * The byte alphabet writes every byte as one printable character (GPT-2's table): 33..126, 161..172 and 174..255
 * stand for themselves, the other 68 bytes are written as U+0100, U+0101, ... in increasing order. Thread safe. */
#ifndef TR_TEXT_UNICODE_H
#define TR_TEXT_UNICODE_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* True for well-formed UTF-8 (no surrogates, nothing above U+10FFFF); else *bad is the offset of the first byte
 * that does not belong to a character. */
bool tr_utf8_valid(const char *text, size_t length, size_t *bad);

/* Appends bytes as UTF-8: whole characters as they are, each ill-formed piece (maximal subpart, as the Unicode
 * standard and Rust's from_utf8_lossy have it) as U+FFFD. Without `final` an incomplete character at the end is
 * left unread. *used is the number of bytes read. */
tr_status tr_utf8_lossy(const uint8_t *bytes, size_t count, bool final, size_t *used, tr_buffer *out,
                        tr_error *err);

/* Appends the normal form C of valid UTF-8. Time is linear, also for long runs of combining marks. */
tr_status tr_nfc(const char *text, size_t length, tr_buffer *out, tr_error *err);

/* The character of a byte in the byte alphabet; the byte of such a character, or -1. */
uint32_t tr_byte_symbol(uint8_t byte);
int tr_symbol_byte(uint32_t symbol);

/* The bytes in the order in which byte-level vocabularies number them (33..126, 161..172, 174..255, the rest). */
void tr_byte_order(uint8_t order[256]);

/* Appends the bytes of a token written in the byte alphabet. *ok is false (and nothing is appended) when a
 * character is not in it. text must be valid UTF-8. */
tr_status tr_symbols_to_bytes(const char *text, size_t length, tr_buffer *out, bool *ok, tr_error *err);

/* Appends bytes written in the byte alphabet. */
tr_status tr_bytes_to_symbols(const uint8_t *bytes, size_t count, tr_buffer *out, tr_error *err);

#endif
