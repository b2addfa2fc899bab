// npm oidc-provider as the hospital's own sign-in, with its own forms for development. PORT, REDIRECT, MODULES.
const { default: Provider } = await import(`${process.env.MODULES}/oidc-provider/lib/index.js`);
const port = Number(process.env.PORT);
const roles = { 'bs.lan': ['thu-vien', 'bac-si-cdha'], 'ktv.minh': 'ky-thuat-vien', 'khach': [], 'bs.an': ['bac-si-cdha'] };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'hoichan', client_secret: 'a secret of the tests, long enough', response_types: ['code'],
    grant_types: ['authorization_code'], redirect_uris: [`${process.env.REDIRECT}/login/oidc/back`],
    post_logout_redirect_uris: [`${process.env.REDIRECT}/login`],
  }],
  pkce: { required: () => true },
  scopes: ['openid', 'profile', 'roles'],
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], roles: ['roles'] },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  ttl: { AccessToken: 600, IdToken: 600, Session: 3600, Grant: 3600, Interaction: 600 },
  async findAccount(ctx, id) {
    const claims = { sub: `sub-${id}`, name: `Người ${id}`, preferred_username: id, roles: roles[id] ?? [] };
    return { accountId: id, claims: async () => claims };
  },
});
provider.listen(port, '127.0.0.1', () => console.log('ready'));
