/*
 * session_tables: the mapped tables, for the files that keep them (names, sockets, associations).
 */
#ifndef VD_CLIENT_SESSION_TABLES_H
#define VD_CLIENT_SESSION_TABLES_H

#include <stdbool.h>
#include <stddef.h>

#include "client/session.h"

/* Where each table begins; only while SESSION_READY. See client/session_layout.h. */
void *session_names(void);
void *session_book(void);
void *session_sockets(void);
void *session_assocs(void);
void *session_hops(void);
void *session_audit(void);

/* Makes sure that `len` bytes at `from` have storage behind them, so that touching them can never
 * raise SIGBUS. Parts that have it already stay as they are. false: no room. Keeps errno. */
bool session_commit(void *from, size_t len);

#endif
