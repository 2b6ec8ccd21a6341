/*
 * origins: as whom an unconnected socket's correspondents are shown.
 *
 * A program that sent to a placeholder address expects the answer from there, but a relay tells the
 * real address of who answers. Nobody says which name that belongs to. So each socket keeps a few
 * of the targets that it sent to: an address that is not among them is taken for the first name
 * with that port which has not answered yet, and stays with it.
 */
#ifndef VD_CLIENT_ORIGINS_H
#define VD_CLIENT_ORIGINS_H

#include <stdint.h>

#include "proto/endpoint.h"

/* The program sent from the socket to `given`. */
void origins_note(uint64_t cookie, const struct vd_endpoint *given);

/* As what `from` is shown: *ip, with the port of `from`. A name is shown by its placeholder, of
 * `family` if it is new. false: nothing can be shown. */
bool origins_show(uint64_t cookie, const struct vd_endpoint *from, enum vd_family family,
                  struct vd_ip *ip);

#endif
