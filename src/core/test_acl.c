/* SPDX-License-Identifier: Apache-2.0
 *
 * Rights, who shares with whom, metadata and URL keys, over the memory store.
 */
#include "core/account_private.h"
#include "core/acl.h"
#include "core/metadata.h"
#include "core/test_world.h"
#include "core/urlkey.h"

struct people {
    struct store *store;
    struct accounts *accounts;
    struct directory directory;
    struct arena arena;
    uint64_t ids[3];
    struct account *owner; /* u0 */
};

static const char *const names[] = {"u0@example.test", "u1@example.test", "u2@example.test"};

static void people_open(struct people *p)
{
    *p = (struct people){.arena = ARENA_INIT(64 << 20)};
    OK(store_open_memory(&p->store));
    p->directory.store = p->store;
    OK(accounts_open(&(struct accounts_options){.store = p->store}, &p->accounts));
    OK(directory_domain_add(&p->directory, &(struct domain){.name = STR("example.test")}));
    for (size_t i = 0; i < 3; i++) {
        struct account_entry e = {.address = str_c(names[i])};
        OK(directory_account_add(&p->directory, &e, &p->ids[i]));
    }
    OK(account_open(p->accounts, p->ids[0], &p->owner));
    OK(account_create_mailboxes(p->owner));
}

static void people_close(struct people *p)
{
    store_is_clean(p->store);
    account_close(p->owner);
    accounts_close(p->accounts);
    arena_free(&p->arena);
    store_close(p->store);
}

static uint32_t rights_of(struct people *p, size_t who, uint32_t mailbox)
{
    struct acl acl;
    struct acl_who w;
    uint32_t rights;
    acl_who_init(&w, p->ids[who], str_c(names[who]));
    OK(acl_get(p->owner, mailbox, &p->arena, &acl));
    OK(acl_rights(&p->directory, &acl, &w, &rights));
    acl_who_free(&w);
    return rights;
}

static enum err give(struct people *p, uint32_t mailbox, const char *identifier, enum acl_how how,
                     const char *rights)
{
    struct acl_entry who;
    uint32_t bits = 0;
    TRY(acl_identifier_parse(&p->directory, str_c(identifier), &p->arena, &who));
    if (rights[0])
        assert_true(acl_rights_parse(str_c(rights), &bits));
    return acl_set(&p->directory, p->owner, mailbox, &who, how, bits);
}

static uint32_t bits(const char *rights)
{
    uint32_t out = 0;
    assert_true(acl_rights_parse(str_c(rights), &out));
    return out;
}

static size_t owners_of(struct people *p, size_t who)
{
    struct acl_who w;
    const uint64_t *owners;
    size_t n;
    acl_who_init(&w, p->ids[who], str_c(names[who]));
    OK(acl_owners(&p->directory, &w, &p->arena, &owners, &n));
    acl_who_free(&w);
    return n;
}

static void rights_add_up_and_negative_ones_take_away(void **state)
{
    struct people p;
    people_open(&p);
    uint32_t box = mailbox_id(p.owner, "Sent");
    assert_int_equal(rights_of(&p, 1, box), 0);
    OK(give(&p, box, "u1@example.test", ACL_REPLACE, "lr"));
    OK(give(&p, box, "anyone", ACL_REPLACE, "ls"));
    assert_int_equal(rights_of(&p, 1, box), bits("lrs"));
    assert_int_equal(rights_of(&p, 2, box), bits("ls"));
    OK(give(&p, box, "-u1@example.test", ACL_ADD, "s"));
    assert_int_equal(rights_of(&p, 1, box), bits("lr"));
    OK(give(&p, box, "u1@example.test", ACL_REMOVE, "r"));
    assert_int_equal(rights_of(&p, 1, box), bits("l"));
    assert_int_equal(give(&p, box, "u0@example.test", ACL_REPLACE, "l"), ERR_INVALID);
    assert_int_equal(give(&p, box, "nobody@example.test", ACL_REPLACE, "l"), ERR_NOT_FOUND);
    assert_int_equal(give(&p, 4711, "anyone", ACL_REPLACE, "l"), ERR_NOT_FOUND);
    people_close(&p);
}

static void a_group_gives_rights_to_its_members_of_this_moment(void **state)
{
    struct people p;
    people_open(&p);
    uint32_t box = mailbox_id(p.owner, "Sent");
    str inner[] = {STR("u1@example.test")}, outer[] = {STR("inner@example.test")};
    struct address_entry g = {.address = STR("inner@example.test"),
                              .kind = ADDRESS_GROUP,
                              .targets = inner,
                              .ntargets = 1};
    OK(directory_address_add(&p.directory, &g));
    struct address_entry o = {.address = STR("outer@example.test"),
                              .kind = ADDRESS_GROUP,
                              .targets = outer,
                              .ntargets = 1};
    OK(directory_address_add(&p.directory, &o));
    OK(give(&p, box, "$outer@example.test", ACL_REPLACE, "lr"));
    assert_int_equal(rights_of(&p, 1, box), bits("lr"));
    assert_int_equal(rights_of(&p, 2, box), 0);
    assert_int_equal(owners_of(&p, 1), 1);
    assert_int_equal(owners_of(&p, 2), 0);
    inner[0] = STR("u2@example.test");
    OK(directory_address_set(&p.directory, &g));
    assert_int_equal(rights_of(&p, 1, box), 0);
    assert_int_equal(rights_of(&p, 2, box), bits("lr"));
    assert_int_equal(give(&p, box, "$u1@example.test", ACL_REPLACE, "l"), ERR_NOT_FOUND);
    people_close(&p);
}

/* rule: store-1 */
static void who_shares_with_whom_is_made_again_when_lost(void **state)
{
    struct people p;
    people_open(&p);
    OK(give(&p, mailbox_id(p.owner, "Sent"), "u1@example.test", ACL_REPLACE, "lr"));
    OK(give(&p, mailbox_id(p.owner, "Junk"), "u1@example.test", ACL_REPLACE, "lr"));
    OK(give(&p, mailbox_id(p.owner, "Junk"), "anyone", ACL_REPLACE, "l"));
    assert_int_equal(owners_of(&p, 1), 1);
    struct store_op op = {.kind = STORE_DELETE_RANGE, .key = STR("H"), .value = STR("I")};
    struct store_commit c = {.partition = STORE_PARTITION_DIRECTORY,
                             .expect_version = STORE_ANY_VERSION,
                             .ops = &op,
                             .nops = 1};
    struct store_result r;
    OK(store_commit(p.store, &c, &r));
    assert_int_equal(owners_of(&p, 1), 1);
    assert_int_equal(owners_of(&p, 2), 1);
    /* The last mailbox that is taken away takes the row away. */
    OK(give(&p, mailbox_id(p.owner, "Junk"), "anyone", ACL_REPLACE, ""));
    OK(give(&p, mailbox_id(p.owner, "Sent"), "u1@example.test", ACL_REPLACE, ""));
    assert_int_equal(owners_of(&p, 1), 1);
    OK(give(&p, mailbox_id(p.owner, "Junk"), "u1@example.test", ACL_REPLACE, ""));
    assert_int_equal(owners_of(&p, 1), 0);
    assert_int_equal(owners_of(&p, 2), 0);
    people_close(&p);
}

static void a_list_of_rights_has_a_limit_and_goes_with_its_mailbox(void **state)
{
    struct people p;
    people_open(&p);
    uint32_t box;
    OK(mailbox_create(p.owner, STR("many"), ROLE_NONE, &box));
    struct acl_entry who = {.kind = ACL_ACCOUNT, .address = STR("x@example.test")};
    for (uint64_t i = 0; i < ACL_ENTRIES_MAX; i++) {
        who.account = 9000 + i;
        OK(acl_set(&p.directory, p.owner, box, &who, ACL_REPLACE, 1));
    }
    who.account = 8000;
    assert_int_equal(acl_set(&p.directory, p.owner, box, &who, ACL_REPLACE, 1), ERR_LIMIT);
    uint8_t mac[URLKEY_BYTES];
    OK(urlkey_sign(p.owner, box, STR("imap://x"), true, mac));
    struct metadata_place place = {
        .account = p.owner, .owner = p.ids[0], .mailbox = box, .scope = METADATA_SHARED};
    struct metadata_change change = {.name = STR("/shared/comment"), .value = STR("x")};
    OK(metadata_set(&place, &change, 1));
    OK(mailbox_delete(p.owner, STR("many")));
    OK(mailbox_purge(p.owner));
    people_close(&p); /* check finds nothing that was left */
}

static void group_mail_goes_where_the_group_says(void **state)
{
    struct people p;
    struct resolution r;
    uint64_t id;
    people_open(&p);
    str members[] = {STR("u1@example.test"), STR("u2@example.test")};
    struct address_entry g = {
        .address = STR("g@example.test"), .kind = ADDRESS_GROUP, .targets = members, .ntargets = 2};
    OK(directory_address_add(&p.directory, &g));
    OK(directory_resolve(&p.directory, STR("g@example.test"), &p.arena, &r));
    assert_int_equal(r.ntargets, 2);
    OK(directory_group_share(&p.directory, STR("g@example.test"), ADDRESS_TO_MAILBOX, &id));
    OK(directory_resolve(&p.directory, STR("g@example.test"), &p.arena, &r));
    assert_int_equal(r.ntargets, 1);
    assert_int_equal(r.targets[0].account, id);
    uint64_t again;
    OK(directory_group_share(&p.directory, STR("g@example.test"),
                             ADDRESS_TO_MAILBOX | ADDRESS_TO_MEMBERS, &again));
    assert_int_equal(id, again);
    OK(directory_resolve(&p.directory, STR("g@example.test"), &p.arena, &r));
    assert_int_equal(r.ntargets, 3);
    OK(directory_address_remove(&p.directory, STR("g@example.test")));
    struct account_entry e;
    assert_int_equal(directory_account_get(&p.directory, id, &p.arena, &e), ERR_NOT_FOUND);
    people_close(&p);
}

static void metadata_has_names_depths_and_limits(void **state)
{
    struct people p;
    people_open(&p);
    enum metadata_scope scope;
    str name;
    assert_int_equal(metadata_name(STR("/other/x"), &p.arena, &scope, &name), ERR_INVALID);
    assert_int_equal(metadata_name(STR("/shared/a//b"), &p.arena, &scope, &name), ERR_INVALID);
    assert_int_equal(metadata_name(STR("/shared/a*"), &p.arena, &scope, &name), ERR_INVALID);
    assert_int_equal(metadata_name(STR("/shared/"), &p.arena, &scope, &name), ERR_INVALID);
    assert_int_equal(metadata_name(STR("/sharedx"), &p.arena, &scope, &name), ERR_INVALID);
    OK(metadata_name(STR("/SHARED/Comment"), &p.arena, &scope, &name));
    assert_true(str_eq(name, STR("/shared/comment")));
    struct metadata_place place = {
        .account = p.owner, .owner = p.ids[0], .mailbox = 1, .scope = METADATA_PRIVATE};
    for (int i = 0; i < METADATA_ENTRIES_MAX; i++) {
        struct metadata_change c = {.name = arena_fmt(&p.arena, "/private/n/%d", i),
                                    .value = STR("v")};
        OK(metadata_set(&place, &c, 1));
    }
    struct metadata_change more = {.name = STR("/private/more"), .value = STR("v")};
    assert_int_equal(metadata_set(&place, &more, 1), ERR_LIMIT);
    struct metadata_change same = {.name = STR("/private/n/7"), .value = STR("again")};
    OK(metadata_set(&place, &same, 1));
    const struct metadata_value *values;
    size_t n;
    OK(metadata_list(&place, STR("/private"), 1, &p.arena, &values, &n));
    assert_int_equal(n, 0);
    OK(metadata_list(&place, STR("/private/n"), 1, &p.arena, &values, &n));
    assert_int_equal(n, METADATA_ENTRIES_MAX);
    OK(metadata_list(&place, STR("/private/n/7"), 0, &p.arena, &values, &n));
    assert_int_equal(n, 1);
    assert_true(str_eq(values[0].value, STR("again")));
    people_close(&p);
}

static void broken_rows_are_found(void **state)
{
    struct people p;
    people_open(&p);
    struct store_key keys[] = {key_acl(1), key_acl(77), key_urlkey(1),
                               key_metadata(0, p.ids[0], 99)};
    struct store_op ops[4];
    for (size_t i = 0; i < 4; i++)
        ops[i] = (struct store_op){
            .kind = STORE_PUT, .key = key_str(&keys[i]), .value = STR("\x09\x01\x00")};
    struct store_commit c = {
        .partition = p.ids[0], .expect_version = STORE_ANY_VERSION, .ops = ops, .nops = 4};
    struct store_result r;
    struct check_result found;
    OK(store_commit(p.store, &c, &r));
    OK(check_store(p.store, show_finding, NULL, &found));
    assert_true(found.findings >= 3);
    account_close(p.owner);
    accounts_close(p.accounts);
    arena_free(&p.arena);
    store_close(p.store);
}

static void url_keys_are_kept_until_reset(void **state)
{
    struct people p;
    uint8_t a[URLKEY_BYTES], b[URLKEY_BYTES];
    people_open(&p);
    assert_int_equal(urlkey_sign(p.owner, 1, STR("imap://x"), false, a), ERR_NOT_FOUND);
    OK(urlkey_sign(p.owner, 1, STR("imap://x"), true, a));
    OK(urlkey_sign(p.owner, 1, STR("imap://x"), false, b));
    assert_memory_equal(a, b, sizeof a);
    OK(urlkey_sign(p.owner, 1, STR("imap://y"), false, b));
    assert_memory_not_equal(a, b, sizeof a);
    OK(urlkey_reset(p.owner, 1));
    assert_int_equal(urlkey_sign(p.owner, 1, STR("imap://x"), false, b), ERR_NOT_FOUND);
    OK(urlkey_sign(p.owner, 1, STR("imap://x"), true, b));
    assert_memory_not_equal(a, b, sizeof a);
    OK(urlkey_reset(p.owner, 0));
    assert_int_equal(urlkey_sign(p.owner, 1, STR("imap://x"), false, b), ERR_NOT_FOUND);
    people_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_add_up_and_negative_ones_take_away),
        cmocka_unit_test(a_group_gives_rights_to_its_members_of_this_moment),
        cmocka_unit_test(who_shares_with_whom_is_made_again_when_lost),
        cmocka_unit_test(a_list_of_rights_has_a_limit_and_goes_with_its_mailbox),
        cmocka_unit_test(group_mail_goes_where_the_group_says),
        cmocka_unit_test(metadata_has_names_depths_and_limits),
        cmocka_unit_test(broken_rows_are_found),
        cmocka_unit_test(url_keys_are_kept_until_reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
